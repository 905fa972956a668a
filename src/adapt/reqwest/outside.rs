//! Names that the mesh does not have.

use reqwest::Url;

/// Which of them the wrapped client may call.
pub(super) struct Outside(Box<dyn Fn(&Url) -> bool + Send + Sync>);

// === impl Outside ===

impl Outside {
    pub(super) fn new(allow: impl Fn(&Url) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(allow))
    }

    pub(super) fn allows(&self, url: &Url) -> bool {
        (self.0)(url)
    }
}
