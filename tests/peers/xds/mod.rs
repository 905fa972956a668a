//! Control planes of others, and other clients of xDS beside the mesh: told the same, do they do the same?

mod bed;
mod costs;
mod errors;
mod go_control_plane;
mod interop;
mod interop_programs;
mod interop_scene;
mod istiod;
mod istiod_tls;
mod loads;
mod matrix;
mod mtls;
mod peer;
mod plane;
mod resources;
mod starts;
mod status;
mod traffic;
