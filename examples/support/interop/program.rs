//! How the programs begin and end.

use std::{fmt::Write as _, io, process::ExitCode};

/// What these arguments say. An `Err` is how the program is to end instead: it has said why, and how it is used.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program says")]
pub(crate) fn options<T>(
    program: &str,
    known: &[&str],
    arguments: Vec<String>,
    parse: impl FnOnce(Vec<String>) -> Result<T, String>,
) -> Result<T, ExitCode> {
    if arguments.iter().any(|it| ["-h", "-help", "--help"].contains(&it.as_str())) {
        println!("{}", usage(program, known));
        return Err(ExitCode::SUCCESS);
    }
    parse(arguments).map_err(|why| {
        eprintln!("{program}: {why}\n{}", usage(program, known));
        ExitCode::from(MISUSED)
    })
}

/// Every flag there is.
fn usage(program: &str, known: &[&str]) -> String {
    let mut usage = format!("usage: {program}");
    for name in known {
        let _ = match name.strip_suffix('?') {
            Some(name) => write!(usage, " [--{name}[=BOOL]]"),
            None => write!(usage, " [--{name}=VALUE]"),
        };
    }
    usage
}

/// Ends when the process is asked to end: by SIGTERM, or from the keyboard. From now on neither ends it by itself.
#[cfg(unix)]
pub(crate) fn ending() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}

/// Ends when the process is asked to end from the keyboard.
#[cfg(not(unix))]
pub(crate) fn ending() -> io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

/// What a shell's programs end with when they are called wrongly.
const MISUSED: u8 = 2;
