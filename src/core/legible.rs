//! Lines of reports and events: one line each, whatever a control plane has named things.

use std::fmt::{Arguments, Formatter, Result, Write};

/// Writes control characters as escapes.
struct Legible<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Legible<'_, '_> {
    fn write_str(&mut self, text: &str) -> Result {
        if !text.contains(char::is_control) {
            return self.0.write_str(text);
        }
        for letter in text.chars() {
            if letter.is_control() {
                write!(self.0, "{}", letter.escape_debug())?;
            } else {
                self.0.write_char(letter)?;
            }
        }
        Ok(())
    }
}

/// Writes a part of a line.
pub(crate) fn part(f: &mut Formatter<'_>, text: Arguments<'_>) -> Result {
    Legible(f).write_fmt(text)
}

/// Writes a line, or its end.
pub(crate) fn line(f: &mut Formatter<'_>, text: Arguments<'_>) -> Result {
    part(f, text)?;
    f.write_char('\n')
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::*;

    struct Named(&'static str);

    impl Display for Named {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            part(f, format_args!("cluster {:>4}, ", self.0))?;
            line(f, format_args!("{}", self.0))
        }
    }

    #[test]
    fn a_line_is_one_whatever_it_names() {
        assert_eq!(Named("a").to_string(), "cluster    a, a\n");
        let odd = Named("a\n\r\0\u{1b}[2J日本").to_string();
        let shown = r"a\n\r\0\u{1b}[2J日本";
        assert_eq!(odd, format!("cluster {shown}, {shown}\n"));
    }
}
