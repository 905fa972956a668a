//! The limit of a route inside that of its service.

use std::sync::Arc;

use super::Limiter;
use crate::{
    config::Criticality,
    core::{Error, Held, Release},
};

/// The limits that a call on a route is counted under: the route's own, and its service's.
#[derive(Debug)]
pub(crate) struct Limits {
    of_route: Option<Arc<Limiter>>,
    of_service: Option<Arc<Limiter>>,
}

// === impl Limits ===

impl Limits {
    /// Nothing, where there is neither.
    pub(crate) fn of(
        of_route: Option<Arc<Limiter>>,
        of_service: Option<&Arc<Limiter>>,
    ) -> Option<Arc<Self>> {
        let is_any = of_route.is_some() || of_service.is_some();
        is_any.then(|| Arc::new(Self { of_route, of_service: of_service.cloned() }))
    }

    pub(crate) fn of_route(&self) -> Option<&Limiter> {
        self.of_route.as_deref()
    }

    /// Takes a place under each, given back when what is returned is dropped.
    #[inline]
    pub(crate) fn hold(
        limits: &Arc<Self>,
        criticality: Criticality,
        now: u64,
    ) -> Result<Held, Error> {
        if let Some(of_route) = &limits.of_route {
            of_route
                .take(of_route.limit(), criticality, now)
                .map_err(|full| full.error("route"))?;
        }
        if let Some(of_service) = &limits.of_service
            && let Err(full) = of_service.take(of_service.limit(), criticality, now)
        {
            if let Some(of_route) = &limits.of_route {
                of_route.release();
            }
            return Err(full.error("service"));
        }
        Ok(Held::Shared(Arc::<Self>::clone(limits)))
    }

    /// Why a call would be refused now, in words.
    pub(crate) fn foretell(&self, criticality: Criticality, now: u64) -> Option<String> {
        let both = [(&self.of_route, "route"), (&self.of_service, "service")];
        both.into_iter().find_map(|(limiter, of)| {
            let limiter = limiter.as_ref()?;
            Some(limiter.would_refuse(limiter.limit(), criticality, now)?.told(of))
        })
    }
}

impl Release for Limits {
    fn release(&self) {
        for limiter in [&self.of_route, &self.of_service].into_iter().flatten() {
            limiter.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Criticality = Criticality::Critical;

    fn limits(of_route: Option<u32>, of_service: Option<u32>) -> Option<Arc<Limits>> {
        let limiter = |limit| Arc::new(Limiter::new(limit));
        Limits::of(of_route.map(limiter), of_service.map(limiter).as_ref())
    }

    #[test]
    fn a_call_is_counted_under_both_until_it_is_over() {
        let limits = limits(Some(2), Some(3)).unwrap();
        let taken = |limits: &Limits| {
            let of = |it: &Option<Arc<Limiter>>| it.as_ref().unwrap().taken();
            (of(&limits.of_route), of(&limits.of_service))
        };
        let held = Limits::hold(&limits, USUAL, 0).unwrap();
        assert_eq!(taken(&limits), (1, 1));
        drop(held);
        assert_eq!(taken(&limits), (0, 0));
    }

    #[test]
    fn what_the_service_refuses_is_not_counted_for_the_route() {
        let limits = limits(Some(2), Some(1)).unwrap();
        let _held = Limits::hold(&limits, USUAL, 0).unwrap();
        let error = Limits::hold(&limits, USUAL, 0).unwrap_err();
        assert!(error.to_string().contains("`max_requests` of the service"), "{error}");
        assert_eq!(limits.of_route().unwrap().taken(), 1);
        assert_eq!(limits.foretell(USUAL, 0).unwrap(), error_words("service", 1));
    }

    #[test]
    fn the_route_is_asked_first_and_either_may_be_missing() {
        let first = |limits: Arc<Limits>| Limits::hold(&limits, USUAL, 0).unwrap_err().to_string();
        assert!(first(limits(Some(0), Some(0)).unwrap()).contains("of the route"));
        assert!(first(limits(None, Some(0)).unwrap()).contains("of the service"));
        assert!(Limits::hold(&limits(Some(1), None).unwrap(), USUAL, 0).is_ok());
        assert!(limits(None, None).is_none());
    }

    fn error_words(of: &str, limit: u32) -> String {
        format!("the {of} has its maximum of {limit} calls in flight (`max_requests` of the {of})")
    }
}
