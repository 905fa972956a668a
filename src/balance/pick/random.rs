//! A random endpoint, by weight.

use std::sync::Arc;

use super::{Best, EFFORT, Picker, Plain, scale, share_of};
use crate::{
    balance::{
        endpoint::{Endpoint, Upstream},
        set::Set,
    },
    core::Random,
};

/// So often a weighted choice is tried by rejection, which costs nothing while weights are alike.
const REJECTIONS: usize = 16;

impl<'a, X: Upstream> Picker<'a, X> {
    /// A random endpoint, by weight.
    #[inline(always)]
    pub(super) fn sample(self) -> Option<&'a Arc<Endpoint<X>>> {
        if self.set.uniform {
            return self.set.get(scale(self.random.next(), self.set.len()));
        }
        by_weight(self.set, self.random)
    }

    #[inline(always)]
    pub(in crate::balance) fn random(self) -> Plain<'a, X> {
        self.plain(self.sample())
    }

    pub(in crate::balance) fn random_ranked(
        self,
        mut endpoint: &'a Arc<Endpoint<X>>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best = Best::default();
        for effort in 0..EFFORT {
            if effort > 0 {
                endpoint = self.sample()?;
            }
            if self.consider(endpoint, &mut best) {
                return Some(endpoint);
            }
        }
        self.scan(scale(self.random.next(), self.set.len()), best)
    }
}

/// By rejection, and exactly if that takes long.
#[inline(never)]
pub(super) fn by_weight<'a, X: Upstream>(
    set: &'a Set<X>,
    random: &Random,
) -> Option<&'a Arc<Endpoint<X>>> {
    let len = set.len();
    for _ in 0..REJECTIONS {
        let word = random.next();
        let endpoint = set.get(scale(word, len))?;
        if scale(word << 32, usize::from(set.max_weight)) < usize::from(endpoint.spec().weight()) {
            return Some(endpoint);
        }
    }
    // So much is lost by rejection when one endpoint outweighs the rest.
    set.at_weight(share_of(random.next(), set.weight()))
}
