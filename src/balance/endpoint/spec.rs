//! What a source says of an endpoint.

use crate::{
    balance::health::Said,
    config::{self, Address, Health, Locality, Protocol, Security},
    core::SourceHealth,
};

/// What its source says. Small: a cluster may know 100,000 of these.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spec {
    address: Address,
    weight: u16,
    health: Health,
    protocol: Option<Protocol>,
    /// The whole of it, when more than these few fields was said.
    rest: Option<Box<config::Endpoint>>,
}

// === impl Spec ===

impl Spec {
    pub(crate) fn new(endpoint: config::Endpoint) -> Self {
        Self {
            address: endpoint.address.clone(),
            weight: u16::try_from(endpoint.weight).unwrap_or(u16::MAX).max(1),
            health: endpoint.health,
            protocol: endpoint.protocol,
            rest: (!endpoint.is_plain()).then(|| Box::new(endpoint)),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn weight(&self) -> u16 {
        self.weight
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// The same in the word of events.
    pub(crate) fn mark(&self) -> SourceHealth {
        match self.health {
            Health::Unknown | Health::Healthy => SourceHealth::Healthy,
            Health::Degraded => SourceHealth::Degraded,
            Health::Unhealthy => SourceHealth::Unhealthy,
            Health::Draining => SourceHealth::Draining,
        }
    }

    /// Its source says nothing against it.
    pub(in crate::balance) fn is_callable(&self) -> bool {
        matches!(self.health, Health::Unknown | Health::Healthy)
    }

    /// What the source says of its health, as its state has it.
    pub(super) fn standing(&self) -> Said {
        Said {
            unhealthy: self.health == Health::Unhealthy,
            draining: self.health == Health::Draining,
            degraded: self.health == Health::Degraded,
        }
    }

    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    pub(crate) fn authority(&self) -> Option<&str> {
        self.rest.as_ref()?.authority.as_deref()
    }

    /// How it is secured, if that was said of itself.
    pub(crate) fn security(&self) -> Option<&Security> {
        self.rest.as_ref()?.security.as_ref()
    }

    /// What was said of it, where that is more than these few fields.
    pub(in crate::balance) fn said(&self) -> Option<&config::Endpoint> {
        self.rest.as_deref()
    }

    /// Whether it makes a plan of the pick necessary.
    pub(in crate::balance) fn is_placed(&self) -> bool {
        matches!(self.health, Health::Unhealthy | Health::Degraded)
            || self.rest.as_ref().is_some_and(|rest| rest.priority > 0)
    }

    pub(crate) fn more_addresses(&self) -> &[Address] {
        self.rest.as_ref().map_or(&[], |rest| &rest.more_addresses)
    }

    /// Its own key, for policies that hash.
    pub(in crate::balance) fn hash_key(&self) -> Option<&str> {
        self.rest.as_ref()?.hash_key.as_deref()
    }

    /// Where it runs, if that was said.
    pub(crate) fn locality(&self) -> Option<&Locality> {
        self.rest.as_ref()?.locality.as_deref()
    }

    /// 0 is the best.
    pub(crate) fn priority(&self) -> u32 {
        self.rest.as_ref().map_or(0, |rest| rest.priority)
    }

    pub(in crate::balance) fn label(&self, name: &str) -> Option<&str> {
        Some(self.rest.as_ref()?.labels.get(name)?.as_str())
    }

    pub(crate) fn hostname(&self) -> Option<&str> {
        self.rest.as_ref()?.hostname.as_deref()
    }

    /// What the source said.
    pub(crate) fn config(&self) -> config::Endpoint {
        if let Some(rest) = &self.rest {
            return (**rest).clone();
        }
        let mut endpoint = config::Endpoint::new(self.address.clone());
        endpoint.weight = u32::from(self.weight);
        endpoint.health = self.health;
        endpoint.protocol = self.protocol;
        endpoint
    }

    /// Whether connections made for one serve the other.
    pub(super) fn same_connections(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.authority() == other.authority()
            && self.security() == other.security()
    }
}
