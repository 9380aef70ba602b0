//! The variables of a rendering, as values of the template language.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, Serde};

use super::straight;
use crate::Vars;

/// Maximum number of variables that are searched one after the other. More of them are an ordered map.
const FEW: usize = 16;

/// Few variables: a list takes a third of the instructions of an ordered map to make, search and drop.
#[derive(Debug)]
struct Few(Vec<(Value, Value)>);

impl Object for Few {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        self.get_value_by_str(name.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        self.0.iter().find(|(own, _)| own.as_str() == Some(name)).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| name.clone()).collect())
    }
}

/// The variables of one rendering.
pub(super) struct Values {
    /// All of them as one value.
    pub(super) all: Value,
    /// [Bytes](straight::bytes) of all, if they are few and counted.
    bytes: Option<u64>,
}

impl Values {
    /// `is_counted` is set for templates that may be rendered without limits.
    pub(super) fn of(vars: &Vars, is_counted: bool) -> Self {
        let vars = vars.as_map();
        if vars.len() > FEW {
            return Self { all: Serde(vars).into(), bytes: None };
        }
        let mut bytes = is_counted.then_some(0);
        let mut few = Vec::with_capacity(vars.len());
        for (name, value) in vars {
            if let Some(sum) = bytes {
                bytes = straight::bytes(value).map(|bytes| sum + bytes);
            }
            let value = match value {
                serde_json::Value::String(text) => Value::from(text.as_str()),
                other => Serde(other).into(),
            };
            few.push((Value::from(name.as_str()), value));
        }
        Self { all: Value::from_object(Few(few)), bytes }
    }

    /// Bytes that are written if each of `vars` is written once, at most. `None` if that must be counted
    /// while they are rendered.
    pub(super) fn bytes(&self, vars: &Vars) -> Option<u64> {
        let vars = vars.as_map();
        if vars.len() > FEW { vars.values().map(straight::bytes).sum() } else { self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Template;

    #[test]
    fn few_and_many_variables_render_the_same() {
        let mut vars: Vars = [
            ("text", json!("a bear")),
            ("long", json!("a name of more than 22 bytes".repeat(3))),
            ("n", json!(3)),
            ("big", json!(u64::MAX)),
            ("ratio", json!(0.5)),
            ("yes", json!(true)),
            ("none", json!(null)),
            ("list", json!([1, "two", [3.0]])),
            ("user", json!({"name": "Ada", "tags": ["a"]})),
            ("range", json!("not the function")),
        ]
        .into_iter()
        .collect();
        let text = "{{ text }}{{ long }}{{ n + 1 }}{{ big }}{{ ratio * 2 }}{{ yes }}{{ none }}{{ none is none }}\
            {{ list }}{{ user.name }}{{ user['tags'] | join }}{{ range }}{{ missing is defined }}\
            {% for i in list %}{{ loop.index }}{{ i }}{{ n }}{% endfor %}{% set n = 7 %}{{ n }}";
        let template = Template::parse(text).unwrap();
        let few = template.render(&vars).unwrap();
        assert!(Values::of(&vars, false).all.downcast_object_ref::<Few>().is_some());
        for i in 0..FEW {
            vars.insert(format!("other{i}"), i);
        }
        assert!(Values::of(&vars, false).all.downcast_object_ref::<Few>().is_none());
        assert_eq!(few, template.render(&vars).unwrap());
    }
}
