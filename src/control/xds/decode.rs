//! Resources as the client has them decoded.

use std::sync::Arc;

use super::{
    client::{Decode, Decoded, Invalid},
    kind::Kind,
    resource::{Decoder, Refused, Resource},
};

impl Decode for Decoder {
    type Resource = Resource;

    fn decode(&self, kind: Kind, value: &[u8]) -> Result<Decoded<Resource>, Invalid> {
        said(Self::decode(self, kind, value))
    }

    fn decode_beside(
        &self,
        kind: Kind,
        value: &[u8],
        before: Option<(&[u8], &Resource)>,
    ) -> Result<Decoded<Resource>, Invalid> {
        said(Self::decode_beside(self, kind, value, before))
    }
}

fn said(read: Result<(Arc<str>, Resource), Refused>) -> Result<Decoded<Resource>, Invalid> {
    match read {
        Ok((name, resource)) => Ok(Decoded { name, resource }),
        Err(Refused { name, reason }) => Err(Invalid { name, reason }),
    }
}
