//! Resources as the client has them decoded.

use super::{
    client::{Decode, Decoded, Invalid},
    kind::Kind,
    resource::{Decoder, Refused, Resource},
};

impl Decode for Decoder {
    type Resource = Resource;

    fn decode(&self, kind: Kind, value: &[u8]) -> Result<Decoded<Resource>, Invalid> {
        match Self::decode(self, kind, value) {
            Ok((name, resource)) => Ok(Decoded { name, resource }),
            Err(Refused { name, reason }) => Err(Invalid { name, reason }),
        }
    }
}
