//! Addresses of endpoints.

#![no_main]

use tower_mesh::config::Address;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse::<Address>().ok(), Some(address));
    }
});
