//! Vectors of Envoy's `hash_test.cc`.

use super::super::Function::{Murmur2, XxHash};

#[test]
fn xxhash_with_seed_0() {
    for (text, hash) in [
        ("foo", 3_728_699_739_546_630_719),
        ("bar", 5_234_164_152_756_840_025),
        ("foo\nbar", 8_917_841_378_505_826_757),
        ("lyft", 4_400_747_396_090_729_504),
        ("", 17_241_709_254_077_376_921),
    ] {
        assert_eq!(XxHash.hash(text.as_bytes()), hash, "{text:?}");
    }
}

#[test]
fn murmur_as_the_standard_library_of_gnu_has_it() {
    for (text, hash) in [
        ("foo", 9_631_199_822_919_835_226),
        ("bar", 11_474_628_671_133_349_555),
        ("foo\nbar", 16_306_510_975_912_980_159),
        ("lyft", 12_847_078_931_730_529_320),
        ("", 6_142_509_188_972_423_790),
    ] {
        assert_eq!(Murmur2.hash(text.as_bytes()), hash, "{text:?}");
    }
}
