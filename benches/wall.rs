//! table
fn main() {}
