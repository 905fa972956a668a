//! Vectors of Envoy's `ring_hash_lb_test.cc`.

use super::{
    super::{Function, Member, Ring, Sizes},
    local, members, names, ports, weighted,
};

const MOST: u32 = 8_388_608;

fn ring(members: &[Member<'_>], least: u32) -> Ring {
    Ring::build(members, Sizes { least, most: MOST }, Function::XxHash)
}

fn exactly(members: &[Member<'_>], size: u32) -> Ring {
    Ring::build(members, Sizes { least: size, most: size }, Function::XxHash)
}

/// The members by the hashes of their entries.
fn is_of(ring: &Ring, expected: &[(u64, u32)]) {
    assert_eq!(ring.len(), expected.len());
    for (hash, position) in expected {
        assert_eq!(ring.at(*hash, 0), Some(*position), "{hash}");
    }
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    for ((hash, _), (_, next)) in sorted.iter().zip(sorted.iter().cycle().skip(1)) {
        assert_eq!(ring.at(hash + 1, 0), Some(*next), "after {hash}");
    }
}

/// How many of so many hashes, all around the ring, fall on each.
fn counts<const N: usize>(ring: &Ring, of: u64) -> [u32; N] {
    let mut counts = [0; N];
    for number in 0..of {
        let position = ring.at(number * (u64::MAX / of), 0).unwrap();
        counts[position as usize] += 1;
    }
    counts
}

/// How many entries each has.
fn entries<const N: usize>(ring: &Ring) -> [u32; N] {
    let mut counts = [0; N];
    for owner in &ring.owners {
        counts[*owner as usize] += 1;
    }
    counts
}

const BASIC: [(u64, u32); 12] = [
    (833_437_586_790_550_860, 4),
    (928_266_305_478_181_108, 2),
    (1_033_482_794_131_418_490, 0),
    (3_551_244_743_356_806_947, 5),
    (3_851_675_632_748_031_481, 3),
    (5_583_722_120_771_150_861, 1),
    (6_311_230_543_546_372_928, 1),
    (7_700_377_290_971_790_572, 3),
    (13_144_177_310_400_110_813, 5),
    (13_444_792_449_719_432_967, 2),
    (15_516_499_411_664_133_160, 4),
    (16_117_243_373_044_804_889, 0),
];

#[test]
fn basic() {
    let keys = ports(90..96);
    let ring = ring(&members(&keys), 12);
    is_of(&ring, &BASIC);
    for (hash, position) in [
        (0, 4),
        (u64::MAX, 4),
        (3_551_244_743_356_806_947, 5),
        (3_551_244_743_356_806_948, 3),
        (16_117_243_373_044_804_880, 0),
    ] {
        assert_eq!(ring.at(hash, 0), Some(position), "{hash}");
    }
}

#[test]
fn basic_with_murmur2() {
    let keys = ports(80..86);
    let sizes = Sizes { least: 12, most: MOST };
    let ring = Ring::build(&members(&keys), sizes, Function::Murmur2);
    is_of(
        &ring,
        &[
            (1_358_027_074_129_602_068, 5),
            (4_361_834_613_929_391_114, 3),
            (7_224_494_972_555_149_682, 4),
            (7_701_421_856_454_313_576, 1),
            (8_649_315_368_077_433_379, 2),
            (8_739_448_859_063_030_639, 4),
            (9_887_544_217_113_020_895, 1),
            (10_150_910_876_324_007_731, 2),
            (15_168_472_011_420_622_455, 3),
            (15_427_156_902_705_414_897, 0),
            (16_375_050_414_328_759_093, 5),
            (17_613_279_263_364_193_813, 0),
        ],
    );
    for (hash, position) in
        [(0, 5), (u64::MAX, 5), (1_358_027_074_129_602_069, 3), (10_150_910_876_324_007_730, 2)]
    {
        assert_eq!(ring.at(hash, 0), Some(position), "{hash}");
    }
}

/// With host names, and with keys of their own.
#[test]
fn basic_with_hostname() {
    let keys = names(&["90", "91", "92", "93", "94", "95"]);
    is_of(
        &ring(&members(&keys), 12),
        &[
            (1_975_508_444_536_362_413, 5),
            (2_376_063_919_839_173_711, 5),
            (2_386_806_903_309_390_596, 3),
            (6_749_904_478_991_551_885, 4),
            (6_803_900_775_736_438_537, 3),
            (7_225_015_537_174_310_577, 2),
            (8_787_465_352_164_086_522, 0),
            (11_282_020_843_382_717_940, 2),
            (13_723_418_369_486_627_818, 1),
            (13_776_502_110_861_797_421, 0),
            (14_338_313_586_354_474_791, 1),
            (15_364_271_037_087_512_980, 4),
        ],
    );
}

#[test]
fn a_later_entry_is_so_many_further_on_the_ring() {
    let keys = ports(90..96);
    let ring = ring(&members(&keys), 12);
    for (later, position) in [(0, 4), (1, 2), (2, 0), (12, 4), (13, 2)] {
        assert_eq!(ring.at(0, later), Some(position), "{later}");
    }
}

#[test]
fn uneven_hosts() {
    let keys = ports([80, 81]);
    is_of(
        &ring(&members(&keys), 3),
        &[
            (5_454_692_015_285_649_509, 0),
            (7_859_399_908_942_313_493, 1),
            (13_838_424_394_637_650_569, 0),
            (16_064_866_803_292_627_174, 1),
        ],
    );
    let keys = ports([81, 82]);
    is_of(
        &ring(&members(&keys), 3),
        &[
            (7_859_399_908_942_313_493, 0),
            (8_241_336_090_459_785_962, 1),
            (12_882_406_409_176_325_258, 1),
            (16_064_866_803_292_627_174, 0),
        ],
    );
}

const TINY: [(u64, u32); 6] = [
    (928_266_305_478_181_108, 2),
    (4_443_673_547_860_492_590, 2),
    (5_583_722_120_771_150_861, 1),
    (6_311_230_543_546_372_928, 1),
    (13_444_792_449_719_432_967, 2),
    (16_117_243_373_044_804_889, 0),
];

#[test]
fn host_weighted_tiny_ring() {
    let keys = weighted(&[(90, 1), (91, 2), (92, 3)]);
    is_of(&exactly(&members(&keys), 6), &TINY);
}

#[test]
fn host_weighted_large_ring() {
    let keys = weighted(&[(90, 1), (91, 2), (92, 3)]);
    let ring = ring(&members(&keys), 6_144);
    assert_eq!(ring.len(), 6_144);
    assert_eq!(entries(&ring), [1_024, 2_048, 3_072]);
    assert_eq!(counts(&ring, 6_000), [987, 1_932, 3_081]);
}

#[test]
fn locality_weights_of_0_leave_nothing() {
    let keys = [(0, ports([90])), (0, ports([91]))];
    assert_eq!(ring(&local(&keys), 1_024).at(7, 0), None);
}

#[test]
fn locality_weighted() {
    let keys = [(1, ports([90])), (2, ports([91])), (3, ports([92])), (0, ports([93]))];
    let members = local(&keys);
    is_of(&exactly(&members, 6), &TINY);
    let ring = ring(&members, 6_144);
    assert_eq!(entries(&ring), [1_024, 2_048, 3_072, 0]);
    assert_eq!(counts(&ring, 6_000), [987, 1_932, 3_081, 0]);
}

#[test]
fn host_and_locality_weighted() {
    let keys = [(1, weighted(&[(90, 1), (91, 2)])), (2, weighted(&[(92, 1), (93, 2)]))];
    let members = local(&keys);
    is_of(
        &exactly(&members, 9),
        &[
            (928_266_305_478_181_108, 2),
            (3_851_675_632_748_031_481, 3),
            (5_583_722_120_771_150_861, 1),
            (6_311_230_543_546_372_928, 1),
            (7_700_377_290_971_790_572, 3),
            (12_559_126_875_973_811_811, 3),
            (13_444_792_449_719_432_967, 2),
            (13_784_988_426_630_141_778, 3),
            (16_117_243_373_044_804_889, 0),
        ],
    );
    let ring = ring(&members, 9_216);
    assert_eq!(ring.len(), 9_216);
    assert_eq!(counts(&ring, 9_000), [924, 2_009, 2_053, 4_014]);
}

#[test]
fn small_fractional_scale() {
    let keys = ports(90..94);
    let ring = exactly(&members(&keys), 2);
    assert_eq!(ring.len(), 2);
    let zeroes = counts::<4>(&ring, 1_024).iter().filter(|count| **count == 0).count();
    assert_eq!(zeroes, 2);
}

#[test]
fn large_fractional_scale() {
    let keys = ports([90, 91]);
    let ring = exactly(&members(&keys), 1_023);
    assert_eq!(entries(&ring), [512, 511]);
    assert_eq!(counts(&ring, 1_023), [526, 497]);
}

#[test]
fn lopsided_weights_on_a_small_scale() {
    let keys = [(127, ports([0])), (1, ports(1..1_024))];
    let ring = exactly(&local(&keys), 1_024);
    assert_eq!(ring.len(), 1_024);
    assert_eq!(entries::<1_024>(&ring)[0], 1_016);
    for (hash, position) in [
        (11_664_790_346_325_243_808, 1),
        (15_894_554_872_961_148_518, 128),
        (13_958_138_884_277_627_155, 256),
        (15_803_774_069_438_192_949, 384),
        (3_829_253_010_855_396_576, 512),
        (17_918_147_347_826_565_154, 640),
        (6_442_769_608_292_299_103, 768),
        (5_881_074_926_069_334_434, 896),
    ] {
        assert_eq!(ring.at(hash, 0), Some(position), "{hash}");
    }
}

/// What `docs/BALANCING.md` says of one that leaves.
#[test]
fn a_hash_moves_between_members_that_stay_as_far_as_their_entries_grow() {
    const HASHES: u64 = 20_000;
    for (count, least, before, after) in
        [(10, 1_024, 103, 114), (33, 1_024, 32, 32), (103, 1_024, 10, 11), (10, 72, 8, 8)]
    {
        let keys = ports(100..100 + count);
        let (with, without) = (ring(&members(&keys), least), ring(&members(&keys[1..]), least));
        assert_eq!((with.len(), without.len()), (size(before, count), size(after, count - 1)));
        let moves = |number: &u64| {
            let hash = Function::XxHash.hash(&number.to_le_bytes());
            let (one, other) = (with.at(hash, 0).unwrap(), without.at(hash, 0).unwrap());
            // The first has left: each of the others stands one place further up.
            one > 0 && one != other + 1
        };
        let moved = (0..HASHES).filter(moves).count() as f64 / HASHES as f64;
        let new = 1.0 - f64::from(before) / f64::from(after);
        assert!((0.5 * new..=new).contains(&moved), "{count}: {moved} moved, {new} is new");
    }
}

fn size(of_each: u32, members: u32) -> usize {
    (of_each * members) as usize
}

#[test]
fn nobody_is_nobody() {
    let ring = ring(&[], 1_024);
    assert_eq!((ring.len(), ring.at(1, 0), ring.at(1, 3)), (0, None, None));
}
