//! Assertions on the output of a step.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{Chain, Context, Error, ErrorKind, Node, Result, Runnable, Template, Vars};

/// Variable of assertions that has the output of the step.
pub(super) const OUTPUT: &str = "output";

/// Code of the error of an assertion that does not hold.
const CODE: &str = "assertion_failed";

/// A step whose output must fulfil conditions.
pub(super) struct Asserted {
    pub(super) step: Chain<Vars, Value>,
    /// Name of the step. `None` for a step that runs for each item of a list.
    pub(super) name: Option<Arc<str>>,
    /// The conditions as they are written, and as templates whose text is not empty if they hold.
    pub(super) conditions: Arc<[(String, Template)]>,
}

impl Runnable for Asserted {
    type Input = Vars;
    type Output = Value;

    async fn run(&self, vars: Vars, cx: &Context) -> Result<Value> {
        let output = self.step.invoke_in(vars.clone(), cx).await?;
        let mut vars = vars;
        vars.insert(OUTPUT, output.clone());
        for (condition, template) in self.conditions.iter() {
            if template.render_async(&vars).await?.is_empty() {
                let error = Error::new(ErrorKind::Parse, format!("assertion failed: {condition}"));
                let error = error.with_code(CODE);
                return Err(match &self.name {
                    Some(name) => error.with_outputs(Map::from_iter([(name.to_string(), output)])),
                    None => error,
                });
            }
        }
        Ok(output)
    }

    fn describe(&self) -> Node {
        self.step.describe()
    }
}
