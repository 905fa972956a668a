//! Control planes: each a [`Discover`](crate::discover::Discover) behind its feature, that talks to its
//! plane with the plane's own protocol and translates what it says into [`config`](crate::config), and
//! nothing else. Nothing of a plane is known beside the model.

#[cfg(feature = "xds")]
pub mod xds;
