//! Any configuration survives JSON and YAML, and validation answers whatever it is asked.

use proptest::prelude::{ProptestConfig, any, proptest};

use super::{
    Config, Policy,
    instances::{Dice, Model, NOT_A_NUMBER},
};

std::thread_local! {
    static MODEL: Model = Model::new();
}

fn text(seed: u64, wild: bool) -> String {
    let mut dice = Dice::new(seed, wild);
    let part = |name: &str, dice: &mut Dice| MODEL.with(|model| model.any(name, dice));
    let services = part("Service", &mut dice);
    dice.fuel = 200;
    let clusters = part("Cluster", &mut dice);
    let config = serde_json::json!({"services": {"a": services}, "clusters": {"a": clusters}});
    config.to_string()
}

proptest! {
    // A seed says it all: nothing to shrink, nothing to keep in a file.
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_configuration_survives_json_and_yaml(seed in any::<u64>()) {
        let config: Config = serde_json::from_str(&text(seed, false)).unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config, "{json}");
        let yaml = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(serde_saphyr::from_str::<Config>(&yaml).unwrap(), config, "{yaml}");
    }

    #[test]
    fn nothing_of_a_policy_is_lost_between_levels(seed in any::<u64>()) {
        let policy = MODEL.with(|model| model.any("Policy", &mut Dice::new(seed, false)));
        let policy: Policy = serde_json::from_value(policy).unwrap();
        assert_eq!(policy.over(&Policy::default()), policy);
        assert_eq!(Policy::default().over(&policy), policy);
    }

    #[test]
    fn validation_never_panics(seed in any::<u64>()) {
        let marker = serde_json::Value::from(NOT_A_NUMBER).to_string();
        let mut wild = text(seed, true);
        for word in [".nan", ".inf", "-.inf", "-1", "0", "1e308"].iter().cycle() {
            if !wild.contains(&marker) {
                break;
            }
            wild = wild.replacen(&marker, word, 1);
        }
        let config: Config = serde_saphyr::from_str(&wild).unwrap();
        for (name, service) in &config.services {
            drop(service.validate(name).map_err(|errors| errors.to_string()));
        }
        for (name, cluster) in &config.clusters {
            drop(cluster.validate(name).map_err(|errors| errors.to_string()));
        }
    }
}
