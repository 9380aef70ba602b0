//! Keeps some of the variables.

use crate::chain::Chain;
use crate::{Error, ErrorKind, Result, Vars, step};

/// Keeps only the variables with these names, in this order.
///
/// ```
/// use fanweave::{compose::pick, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(pick(["a"]).invoke(vars! { a: 1, b: 2 }).await?, vars! { a: 1 });
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with [`ErrorKind::Input`] if a variable is missing.
pub fn pick<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Chain<Vars, Vars> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    step(move |vars: Vars, _| {
        let picked: Result<Vars> = names
            .iter()
            .map(|name| match vars.get(name) {
                Some(value) => Ok((name.clone(), value.clone())),
                None => {
                    let given = vars.names().collect::<Vec<_>>().join(", ");
                    let given = if given.is_empty() {
                        "no variables are given".to_owned()
                    } else {
                        format!("the variables are {given}")
                    };
                    Err(Error::new(ErrorKind::Input, format!("unknown variable `{name}`: {given}")))
                }
            })
            .collect();
        async move { picked }
    })
    .named("pick")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars;

    #[tokio::test]
    async fn a_variable_that_cannot_be_picked_is_named() {
        let error = pick(["b"]).invoke(vars! { a: 1 }).await.unwrap_err();
        assert_eq!(error.to_string(), "step pick: unknown variable `b`: the variables are a");
    }
}
