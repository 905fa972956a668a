use proptest::prelude::*;

use super::super::script;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_servers_send(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        script::run(&bytes);
    }
}
