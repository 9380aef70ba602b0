//! Assertions on the output of a step.

use std::sync::Arc;

use serde_json::Value;

use crate::{Chain, Context, Error, ErrorKind, Node, Result, Runnable, Template, Vars};

/// Variable of assertions that has the output of the step.
pub(super) const OUTPUT: &str = "output";

/// Code of the error of an assertion that does not hold.
const CODE: &str = "assertion_failed";

/// A step whose output must fulfil conditions.
pub(super) struct Asserted {
    pub(super) step: Chain<Vars, Value>,
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
                return Err(error.with_code(CODE));
            }
        }
        Ok(output)
    }

    fn describe(&self) -> Node {
        self.step.describe()
    }
}
