//! The options of `resolv.conf` that say how servers are asked.
//!
//! hickory hands on `ndots` alone of what it reads there, and reads less than there is. What is not
//! obeyed is told.

use std::time::Duration;

/// What the lines of options say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Options {
    /// How long one server may take.
    pub(super) timeout: Option<Duration>,
    /// How often each is asked.
    pub(super) attempts: Option<usize>,
    /// Another server is asked first each time.
    pub(super) rotate: bool,
    /// Over TCP alone.
    pub(super) use_vc: bool,
    /// Addresses of IPv6 are not asked for.
    pub(super) no_aaaa: bool,
    /// What is said and does nothing, each with the reason.
    unheeded: Vec<String>,
}

impl Options {
    /// Reads them. Later ones win.
    //= resolv.conf(5): the keyword must start the line, options are separated by white space
    pub(super) fn read(resolv_conf: &[u8]) -> Self {
        let mut options = Self::default();
        for line in String::from_utf8_lossy(resolv_conf).lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next().filter(|word| line.starts_with(word)) {
                Some("options") => words
                    .take_while(|word| !word.starts_with(['#', ';']))
                    .for_each(|word| options.say(word)),
                Some("sortlist") => options.leave("sortlist", "addresses are not sorted by it"),
                _ => {}
            }
        }
        options
    }

    /// What is to be told of them; empty if all are obeyed.
    pub(super) fn note(&self) -> String {
        if self.unheeded.is_empty() {
            return String::new();
        }
        format!("not obeyed: {}", self.unheeded.join("; "))
    }

    fn say(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match name {
            "timeout" => match value.parse::<u64>() {
                Ok(seconds) => {
                    let seconds = seconds.clamp(1, MAX_TIMEOUT);
                    self.timeout = Some(Duration::from_secs(seconds));
                }
                Err(_) => self.leave(option, "that is no number of seconds"),
            },
            "attempts" => match value.parse::<usize>() {
                Ok(attempts) => self.attempts = Some(attempts.clamp(1, MAX_ATTEMPTS)),
                Err(_) => self.leave(option, "that is no number"),
            },
            "rotate" => self.rotate = true,
            "use-vc" => self.use_vc = true,
            "no-aaaa" => self.no_aaaa = true,
            // The first is read by hickory. The others ask for what is so anyway, or are of resolvers
            // that print, sort into bits, or look at names.
            "ndots"
            | "edns0"
            | "single-request-reopen"
            | "trust-ad"
            | "debug"
            | "inet6"
            | "ip6-bytestring"
            | "ip6-dotint"
            | "no-ip6-dotint"
            | "no-check-names" => {}
            "single-request" => self.leave(option, "both families are asked at once"),
            "no-tld-query" => self.leave(option, "a name without a dot is asked as it is, too"),
            "no-reload" => self.leave(option, "the file is read again when a question fails"),
            _ => self.leave(option, "nobody here knows it"),
        }
    }

    fn leave(&mut self, option: &str, why: &str) {
        let told = format!("`{}` ({why})", option.escape_debug());
        if self.unheeded.len() < MAX_TOLD && !self.unheeded.contains(&told) {
            self.unheeded.push(told);
        }
    }
}

/// Seconds. resolv.conf(5): the value is silently capped to 30.
const MAX_TIMEOUT: u64 = 30;
/// resolv.conf(5): the value is silently capped to 5.
const MAX_ATTEMPTS: usize = 5;
/// Options that are told.
const MAX_TOLD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Options {
        Options::read(text.as_bytes())
    }

    #[test]
    fn options_of_all_lines_count_and_later_ones_win() {
        let options = read(
            "# options use-vc\n; options use-vc\n options use-vc\nsearch options use-vc\n\
             nameserver 127.0.0.1\noptions timeout:3 rotate edns0\n\
             options\tattempts:4  timeout:7 # use-vc\n",
        );
        let expected = Options {
            timeout: Some(Duration::from_secs(7)),
            attempts: Some(4),
            rotate: true,
            ..Options::default()
        };
        assert_eq!(options, expected);
        assert_eq!(options.note(), "");
        assert!(read("options use-vc").use_vc && read("options no-aaaa\r\n").no_aaaa);
    }

    #[test]
    fn times_and_attempts_are_within_their_range() {
        for (text, timeout, attempts) in [
            ("options timeout:0 attempts:0", 1, 1),
            ("options timeout:30 attempts:5", 30, 5),
            ("options timeout:31 attempts:6", 30, 5),
        ] {
            let options = read(text);
            assert_eq!(options.timeout, Some(Duration::from_secs(timeout)), "{text}");
            assert_eq!(options.attempts, Some(attempts), "{text}");
        }
    }

    #[test]
    fn what_is_not_obeyed_is_told_once_with_the_reason() {
        let options = read(
            "options timeout:x attempts: ndots:2 single-request single-request-reopen\n\
             options single-request future-thing debug\nsortlist 10.0.0.0\n",
        );
        assert_eq!((options.timeout, options.attempts), (None, None));
        assert_eq!(
            options.note(),
            "not obeyed: `timeout:x` (that is no number of seconds); `attempts:` (that is no number); \
             `single-request` (both families are asked at once); `future-thing` (nobody here knows \
             it); `sortlist` (addresses are not sorted by it)"
        );
        let many: String = (0..100).map(|n| format!("options o{n}\n")).collect();
        assert_eq!(read(&many).note().matches('`').count(), 2 * MAX_TOLD);
        assert_eq!(Options::read(b"options \xff\xfe\n\0").unheeded.len(), 1);
    }
}
