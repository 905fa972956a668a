//! How the calls of a route are traced: the run-time form of [`config::Tracing`].

use std::sync::Arc;

use http::HeaderName;

use crate::{config, core::Random};

/// What a route says of its spans. Its texts are shared with every span: none is copied per call.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    client: Share,
    random: Share,
    overall: Share,
    pub(crate) operation: Option<Arc<str>>,
    pub(crate) tags: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) header_tags: Vec<(Arc<str>, HeaderName)>,
}

/// A share of calls; all of them by default.
#[derive(Clone, Copy, Debug)]
struct Share(f64);

// === impl Rules ===

impl Rules {
    /// Nothing where nothing is said: then everything is traced that a tracer wants.
    pub(crate) fn of(config: &config::Tracing) -> Option<Arc<Self>> {
        if *config == config::Tracing::default() {
            return None;
        }
        let share =
            |percent: Option<f64>| percent.map_or_else(Share::default, |it| Share(it / 100.0));
        let tags =
            config.tags.iter().map(|(tag, value)| (tag.as_str().into(), value.as_str().into()));
        let header_tags = config.header_tags.iter().filter_map(|(tag, header)| {
            // Validation has refused what is no name.
            Some((tag.as_str().into(), HeaderName::try_from(header.as_str()).ok()?))
        });
        Some(Arc::new(Self {
            client: share(config.client_percent),
            random: share(config.random_percent),
            overall: share(config.overall_percent),
            operation: config.operation.as_deref().map(Into::into),
            tags: tags.collect(),
            header_tags: header_tags.collect(),
        }))
    }

    /// Whether a tracer is asked about a call: one whose caller traces it, or one at random.
    pub(crate) fn may_trace(&self, caller_traces: bool, random: &Random) -> bool {
        let first = if caller_traces { self.client } else { self.random };
        first.draw(random) && self.overall.draw(random)
    }
}

// === impl Share ===

impl Default for Share {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Share {
    fn draw(self, random: &Random) -> bool {
        self.0 >= 1.0 || random.ratio() < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(client: Option<f64>, random: Option<f64>, overall: Option<f64>) -> Arc<Rules> {
        let mut config = config::Tracing::default();
        config.client_percent = client;
        config.random_percent = random;
        config.overall_percent = overall;
        config.operation = Some("op".into());
        Rules::of(&config).unwrap()
    }

    fn share(rules: &Rules, caller_traces: bool) -> usize {
        let random = Random::seeded(7);
        (0..10_000).filter(|_| rules.may_trace(caller_traces, &random)).count()
    }

    #[test]
    fn shares_are_kept_for_calls_that_are_traced_already_and_for_others() {
        let some = rules(Some(25.0), Some(50.0), None);
        assert!((2_300..2_700).contains(&share(&some, true)));
        assert!((4_800..5_200).contains(&share(&some, false)));
        let capped = rules(None, Some(50.0), Some(50.0));
        assert!((2_300..2_700).contains(&share(&capped, false)));
        assert!((4_800..5_200).contains(&share(&capped, true)));
        assert_eq!(share(&rules(Some(0.0), None, None), true), 0);
        assert_eq!(share(&rules(None, None, None), false), 10_000);
    }

    #[test]
    fn nothing_said_is_no_rule() {
        assert!(Rules::of(&config::Tracing::default()).is_none());
    }
}
