//! What is measured, when it is attached, and what the stream says.

mod layer;
mod measure;
mod stream;
