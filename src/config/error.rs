//! What is wrong with a configuration: field, value, allowed range.

use std::fmt;

use crate::core::{Error, ErrorKind, Phase};

/// One field that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConfigError {
    /// `services.greeter.policy.timeout`
    pub path: String,
    /// The value as it was given.
    pub value: String,
    /// Why, and what is allowed.
    pub reason: String,
}

/// Everything that is wrong with one part of a configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a list is all it is")]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigError {
    pub(crate) fn new(
        path: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), value: value.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.path, self.value, self.reason)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for ConfigErrors {}

/// For `?` in a function that returns the crate's own error: its kind is
/// [`Config`](ErrorKind::Config), and its source what it was.
impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(ErrorKind::Config, Phase::Resolve)
            .detail(errors.to_string())
            .check("the value that is named")
            .caused_by(errors)
    }
}

/// For `?` in a function that returns the crate's own error: its kind is
/// [`Config`](ErrorKind::Config), and its source what it was.
impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::Config, Phase::Resolve)
            .detail(error.to_string())
            .check("the value that is named")
            .caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    #[test]
    fn what_is_wrong_with_a_value_becomes_an_error_of_the_crate() {
        fn parse(text: &str) -> Result<Address, Error> {
            Ok(text.parse::<Address>()?)
        }
        assert!(parse("10.0.0.1:80").is_ok());
        let error = parse("10.0.0.1:port").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let source = std::error::Error::source(&error).unwrap();
        assert!(error.to_string().contains(&source.to_string()), "{error}");
        assert!(error.to_string().ends_with("; check the value that is named"), "{error}");
        let errors = ConfigErrors(vec![source.downcast_ref::<ConfigError>().unwrap().clone()]);
        assert_eq!(Error::from(errors).to_string(), error.to_string());
    }
}
