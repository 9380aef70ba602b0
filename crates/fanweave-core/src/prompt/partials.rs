//! Variables with preset values.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::Vars;

/// Values, and functions that are evaluated for every call, by name of the variable.
#[derive(Clone, Default)]
pub(super) struct Partials(Vec<(Arc<str>, Evaluate)>);

type Evaluate = Arc<dyn Fn() -> Value + Send + Sync>;

impl Partials {
    pub(super) fn add(&mut self, name: Arc<str>, value: Evaluate) {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| **own == *name)
    }

    /// The variables of a call, completed with these for names that the call does not set.
    pub(super) fn complete<'a>(&self, vars: &'a Vars) -> Cow<'a, Vars> {
        if self.0.is_empty() {
            return Cow::Borrowed(vars);
        }
        let mut all = vars.clone();
        for (name, value) in &self.0 {
            if all.get(name).is_none() {
                all.insert(&**name, value());
            }
        }
        Cow::Owned(all)
    }
}

impl fmt::Debug for Partials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
