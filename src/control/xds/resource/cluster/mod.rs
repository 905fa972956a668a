//! Clusters (CDS).

mod sockets;

pub(crate) use self::sockets::Sockets;
