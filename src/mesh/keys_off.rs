//! The identities and roots of a mesh without TLS: none, so that nothing that asks for them runs.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{
    inner::Inner,
    own::Known,
    protect::{Demand, Giver},
};
use crate::{
    config::{ClusterSecurity, ConfigErrors, IdentityFiles, SecurityMode},
    core::BoxFuture,
    discover::SourceId,
    transport::Protection,
};

/// When certificates expire, by a label and its value: there are none.
pub(crate) type Expiries = BTreeMap<(&'static str, Arc<str>), SystemTime>;

const WITHOUT_TLS: &str = "TLS is not compiled in: turn on the feature `tls`";

#[derive(Default)]
pub(crate) struct Given;

#[derive(Default)]
pub(crate) struct Keys;

#[derive(Clone, Debug)]
pub(crate) struct Resolved;

/// What is told of keys and roots.
pub(crate) struct Told {
    pub(crate) identity: String,
    pub(crate) trust: String,
    pub(crate) crypto: Arc<str>,
}

#[expect(clippy::unused_self, reason = "as the other one has it")]
impl Keys {
    pub(crate) fn start(_inner: &Arc<Inner>, _given: Given) -> Self {
        Self
    }

    pub(crate) fn read(
        &mut self,
        _inner: &Inner,
        _source: SourceId,
        _name: &str,
        _files: IdentityFiles,
    ) -> Result<bool, String> {
        Err(WITHOUT_TLS.to_owned())
    }

    pub(crate) fn forget(&mut self, _source: SourceId, _name: &str) -> bool {
        false
    }

    pub(crate) fn is_gone(&self, _part: &str) -> bool {
        false
    }

    pub(crate) fn own(&self) -> Known {
        Known::Nobody
    }

    pub(crate) fn need_system(&mut self, _inner: &Inner) {}

    pub(crate) fn givers(&self) -> [Giver; 2] {
        [Giver::Nobody; 2]
    }

    pub(crate) fn expiries(&self) -> Expiries {
        Expiries::new()
    }

    pub(crate) fn awaited(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    pub(crate) fn resolve(
        &self,
        _security: &ClusterSecurity,
        _code: Option<&ClusterSecurity>,
    ) -> Resolved {
        Resolved
    }
}

#[expect(clippy::unused_self, reason = "as the other one has it")]
impl Resolved {
    pub(crate) fn same(&self, _other: &Self) -> (bool, bool) {
        (true, true)
    }

    pub(crate) fn flaw(&self, _mode: SecurityMode) -> Option<String> {
        Some(WITHOUT_TLS.to_owned())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the other one has it")]
    pub(crate) fn validate(
        &self,
        _security: &ClusterSecurity,
        _demand: &Demand,
    ) -> Result<(), ConfigErrors> {
        // Validation has refused every mode but `off`.
        Ok(())
    }

    pub(crate) fn protection(&self, _security: &ClusterSecurity, _demand: &Demand) -> Protection {
        Protection::Refused(WITHOUT_TLS.into())
    }

    pub(crate) fn told(&self) -> Told {
        Told { identity: "none".to_owned(), trust: "none".to_owned(), crypto: "none".into() }
    }
}
