//! Rows and items with settings of their own: a model for each row, a limit for one step, the result of each
//! item, in order and as they complete, and the items of named lists.
//!
//!     cargo run --release -p fanweave --example per_row

use std::time::Duration;

use fanweave::compose::configurable;
use fanweave::prelude::StreamExt;
use fanweave::testing::{Fake, Load};
use fanweave::{Context, Error, ErrorKind, Result, chain, prompt, step, text, vars};

#[tokio::main]
async fn main() -> Result<()> {
    // The model of each row. A choice for a part that the chain does not have is an error.
    let model = |name: &'static str| (name, chain(Fake::answer_with(move |_| name.into())));
    let answer = prompt("{{ question }}") | configurable("model", [model("small"), model("large")]) | text();
    let rows = [("1 + 1?", false), ("Is P = NP?", true)].map(|(q, hard)| vars! { question: q, hard: hard });
    let answers = answer.batch(rows.clone()).context(|row, cx| match row.get("hard") {
        Some(hard) if *hard == true => cx.with_choice("model", "large"),
        _ => cx,
    });
    println!("{:?}", answers.fail_fast().await?);
    let mistyped = Context::new().with_choice("modell", "large");
    println!("{}", answer.invoke_in(rows[0].clone(), &mistyped).await.expect_err("an unknown part"));

    // At most two calls of the second step at once, in all rows.
    let load = Load::default();
    let slow = Fake::echo().latency(Duration::from_millis(5)).count_in(&load);
    let slow = (prompt("{{ x }}") | slow | text()).scoped(|cx| cx.with_concurrency(2));
    slow.batch((0..10).map(|n| vars! { x: n })).concurrency(10).fail_fast().await?;
    println!("{} calls, at most {} at once", load.calls(), load.max_in_flight());

    // The result of each item: one that fails does not end the others.
    let check = step(|title: String, _| async move {
        if title == "Sanditon" { Err(Error::new(ErrorKind::Step, "unfinished")) } else { Ok(title.len()) }
    });
    let titles = prompt("1. Emma\n2. Sanditon\n3. Persuasion") | Fake::echo().model();
    for result in titles.clone().lines().each_result(check.clone()).collect().invoke(vars! {}).await? {
        println!("{result:?}");
    }
    let mut completed = titles.lines().each_completed(check).stream(vars! {});
    while let Some(item) = completed.next().await {
        let (index, result) = item?;
        println!("item {index}: {result:?}");
    }

    // The items of a named list in the answer, each as soon as it is complete.
    let review = chain(Fake::echo());
    let mut cons =
        review.items_of::<String>("cons").stream(r#"{"pros": ["quick"], "cons": ["loud", "old"]}"#);
    while let Some(con) = cons.next().await {
        println!("- {}", con?);
    }
    Ok(())
}
