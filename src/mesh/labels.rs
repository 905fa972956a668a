//! The labels of this process, as the environment has them.

use std::{collections::BTreeMap, env::VarError};

use crate::config::{ConfigError, decoded};

/// The variable that has them.
pub(super) const VARIABLE: &str = "MESH_LABELS";

/// What a variable says: `name=value,name=value`, where `%2C` stands for a comma.
///
/// # Errors
///
/// What of it is no label. Half a list would choose other routes than the whole.
pub(super) fn read(
    said: Result<String, VarError>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let wrong = |value: &str, reason: &str| ConfigError::new(VARIABLE, value, reason);
    let list = match said {
        Ok(list) => list,
        Err(VarError::NotPresent) => return Ok(BTreeMap::new()),
        Err(VarError::NotUnicode(bytes)) => {
            return Err(wrong(&bytes.to_string_lossy(), "must be UTF-8"));
        }
    };
    let mut labels = BTreeMap::new();
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(wrong(pair, "must be `name=value`"));
        };
        let (Some(name), Some(value)) = (decoded(name.trim()), decoded(value.trim())) else {
            return Err(wrong(pair, "`%` must stand before two hexadecimal digits of UTF-8"));
        };
        if name.is_empty() {
            return Err(wrong(pair, "a label has a name"));
        }
        if labels.insert(name, value).is_some() {
            return Err(wrong(pair, "this label is there twice"));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(list: &str) -> Result<Vec<(String, String)>, String> {
        let labels = read(Ok(list.to_owned())).map_err(|error| error.to_string())?;
        Ok(labels.into_iter().collect())
    }

    #[test]
    fn a_list_of_names_and_values() {
        let expected = |pairs: &[(&str, &str)]| {
            Ok(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
        };
        assert_eq!(labels(""), expected(&[]));
        assert_eq!(labels("team=shop"), expected(&[("team", "shop")]));
        assert_eq!(
            labels(" team = shop , tier=a%2Cb%3D%C3%A9,none=, "),
            expected(&[("none", ""), ("team", "shop"), ("tier", "a,b=é")])
        );
        assert_eq!(
            labels("app.kubernetes.io/name=x=y"),
            expected(&[("app.kubernetes.io/name", "x=y")])
        );
        assert!(read(Err(VarError::NotPresent)).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_label_is_refused_by_name() {
        for (list, wrong) in [
            ("team", "MESH_LABELS = team: must be `name=value`"),
            ("a=b,=c", "MESH_LABELS = =c: a label has a name"),
            ("a=%2", "MESH_LABELS = a=%2: `%` must stand"),
            ("a=%zz", "MESH_LABELS = a=%zz: `%` must stand"),
            ("a=%ff", "MESH_LABELS = a=%ff: `%` must stand"),
            ("a=b,a=b", "MESH_LABELS = a=b: this label is there twice"),
        ] {
            let error = labels(list).unwrap_err();
            assert!(error.starts_with(wrong), "{error}");
        }
        let error = read(Err(VarError::NotUnicode("x".into()))).unwrap_err();
        assert!(error.to_string().ends_with("must be UTF-8"), "{error}");
    }
}
