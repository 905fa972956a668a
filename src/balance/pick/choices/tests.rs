use super::*;

#[test]
fn the_weights_are_envoys() {
    // Envoy's LeastRequestLoadBalancerTest.WeightImbalance: weights of 1 and 2.
    let ratio =
        |bias, first: u32, second: u32| weight_of(2, second, bias) / weight_of(1, first, bias);
    assert_eq!(ratio(1.0, 0, 0), 2.0);
    assert_eq!(ratio(1.0, 0, 1), 1.0);
    assert_eq!(ratio(1.0, 1, 0), 4.0);
    // WeightImbalanceWithCustomActiveRequestBias: with 0, calls in flight do not count.
    assert_eq!(ratio(0.0, 0, 1), 2.0);
    assert_eq!(ratio(0.0, 1, 0), 2.0);
    assert_eq!(ratio(2.0, 1, 0), 8.0);
    assert_eq!(ratio(2.0, 0, 3), 0.125);
    assert_eq!(weight_of(100, 3, 0.5), 50.0);
    assert!(weight_of(1, u32::MAX, 100.0) >= 0.0);
}

#[test]
fn as_many_rounds_as_the_largest_weight_give_each_as_many_turns_as_its_own() {
    let cases = [(3_u32, 1_u32), (3, 2), (3, 3), (100, 1), (100, 37), (65_535, 1), (65_535, 4_711)];
    for (largest, weight) in cases {
        for place in [0, 1, 2, 1_000] {
            let part = f64::from(weight) / f64::from(largest);
            let taken = (0..u64::from(largest)).filter(|round| takes_turn(part, *round, place));
            let count = u32::try_from(taken.count()).unwrap();
            assert!(count.abs_diff(weight) <= 1, "{weight} of {largest}: {count}");
        }
    }
}

#[test]
fn what_says_no_more_than_two_choices_is_the_plain_form() {
    let mut settings = config::LeastRequest::default();
    assert_eq!(Choices::of(None), None);
    assert_eq!(Choices::of(Some(&settings)), None);
    settings.choices = Some(2);
    settings.full_scan = Some(false);
    assert_eq!(Choices::of(Some(&settings)), None);
    settings.choices = Some(3);
    assert_eq!(Choices::of(Some(&settings)), Some(Choices { count: 3, bias: None }));
    settings.full_scan = Some(true);
    assert_eq!(Choices::of(Some(&settings)).map(|it| it.count), Some(usize::MAX));
    settings = config::LeastRequest::default();
    settings.active_bias = Some(1.0);
    assert_eq!(Choices::of(Some(&settings)), Some(Choices { count: 2, bias: Some(1.0) }));
}
