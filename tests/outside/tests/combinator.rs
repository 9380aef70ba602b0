//! A combinator of another crate in a chain.

use fanweave::testing::Fake;
use fanweave::{Context, Error, chain, prompt, step, text, vars};
use outside::majority::majority;

#[tokio::test]
async fn a_combinator_of_another_crate_is_a_step_like_any_other() {
    let answers = Fake::script(["no", "yes", "yes", "no", "yes"].map(Ok));
    let asked = prompt("Is {{ n }} prime?") | answers.model() | text();
    let vote = majority(asked, 5).named("vote");
    assert_eq!(vote.invoke(vars! { n: 7 }).await.unwrap(), "yes");
    let graph = vote.graph().to_ascii();
    assert!(graph.contains("vote") && graph.contains("majority of 5"), "{graph}");
}

#[tokio::test]
async fn its_runs_are_calls_of_the_run_and_its_errors_name_its_step() {
    let failing = step(|(): (), _: Context| async { Err::<u8, _>(Error::step(std::io::Error::other("no"))) });
    let error = majority(failing, 3).named("vote").invoke(()).await.unwrap_err();
    assert_eq!(error.to_string(), "step vote: no");
    let limited = Context::new().with_concurrency(1);
    let vote = majority(chain(Fake::echo()) | text(), 4);
    assert_eq!(vote.invoke_in("same", &limited).await.unwrap(), "same");
}
