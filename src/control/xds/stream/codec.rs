//! How messages are written, and read: they are looked through before they are decoded.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::control::xds::bulk::{MOST_OF_ANSWER, has_more};

/// Writes `T` and reads `U`.
pub(super) struct Looking<T, U>(PhantomData<(T, U)>);

pub(super) struct Writing<T>(PhantomData<T>);

pub(super) struct Reading<U>(PhantomData<U>);

impl<T, U> Looking<T, U> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Looking<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Writing<T>;
    type Decoder = Reading<U>;

    fn encoder(&mut self) -> Writing<T> {
        Writing(PhantomData)
    }

    fn decoder(&mut self) -> Reading<U> {
        Reading(PhantomData)
    }
}

impl<T: Message> Encoder for Writing<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<U: Message + Default> Decoder for Reading<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let length = from.remaining();
        let bytes = from.copy_to_bytes(length);
        if has_more(&bytes, 1, MOST_OF_ANSWER) {
            return Err(Status::out_of_range(format!(
                "too large: it has more than {MOST_OF_ANSWER} resources, names and errors"
            )));
        }
        U::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
