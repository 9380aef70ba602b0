//! The estimate of a dry run, as text and as JSON.

use std::fmt::Write;

use fanweave::Usage;
use serde_json::{Value, json};

use super::END;
use crate::cost::dollars;
use crate::exit::Failure;
use crate::out::{escape_controls, print};
use crate::progress::{rounded, short};

/// Estimate of what a run would do and cost.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    /// The first prompts: the locations of their rows or steps, and their messages, under a heading if there
    /// is one.
    pub(super) prompts: Vec<Shown>,
    /// `None` for a run without rows.
    pub(super) rows: Option<Rows>,
    /// Number of calls, if a row makes several, and what it is based on.
    pub(super) calls: Option<(u64, String)>,
    pub(super) usage: Usage,
    /// Basis for the tokens of the answers.
    pub(super) output: OutputBasis,
    /// Duration in seconds, and what it is based on.
    pub(super) time: Option<Time>,
    /// Further lines of text.
    pub(super) more: String,
    /// Costs with each model.
    pub(super) costs: Vec<Cost>,
    /// Cost of the whole run.
    pub(super) total: Total,
    pub(super) prices_date: String,
    pub(super) budget: Option<Budget>,
    /// Number of incomplete runs, and the error of the first one.
    pub(super) incomplete: Option<String>,
    /// Set if the calls were simulated, because their prompts depend on the answers of others.
    pub(super) is_simulated: bool,
}

/// A prompt.
#[derive(Debug)]
pub(super) struct Shown {
    /// Location of its row, or its step.
    pub(super) location: String,
    /// Set for a step of the row before it.
    pub(super) is_nested: bool,
    pub(super) messages: Vec<String>,
}

/// Counts of rows. With samples, each of them counts.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Rows that the run takes, each once.
    pub(super) taken: u64,
    /// Samples of each.
    pub(super) samples: u32,
    /// Those of them that have a result.
    pub(super) done: u64,
    pub(super) invalid: u64,
    /// Rows that share the result of an earlier row with an equal request.
    pub(super) equal: u64,
    /// The first invalid one, with the reason.
    pub(super) first_invalid: Option<String>,
    /// Rows of the whole input, if it is known and the run takes only a part of it.
    pub(super) of_input: Option<u64>,
}

impl Rows {
    /// Calls of rows that the run makes: one for each sample.
    pub(super) fn to_run(&self) -> u64 {
        (self.taken * u64::from(self.samples.max(1))).saturating_sub(self.done + self.invalid + self.equal)
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputBasis {
    /// A usual length.
    #[default]
    Usual,
    /// Their maximum.
    Maximum,
    /// Vectors have no tokens.
    None,
}

#[derive(Debug)]
pub(super) enum Time {
    /// At least this many seconds, by a limit.
    AtLeast(f64, String),
    /// About this many seconds, by earlier rows.
    About(f64, String),
    /// As in words.
    Said(&'static str),
}

/// Cost with one model.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) model: String,
    /// Rows that it is for, as the end of a phrase.
    pub(super) of: &'static str,
    /// In US dollars. `None` if the price is unknown.
    pub(super) usd: Option<f64>,
}

/// Cost of a run in US dollars, as far as prices are known.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Total {
    pub(super) usd: f64,
    /// Set if a price is unknown.
    pub(super) is_partial: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// In US dollars, for all runs.
    pub(super) usd: f64,
    /// Spent by earlier runs.
    pub(super) spent: f64,
}

impl Budget {
    /// Number of the rows that fit, if each costs the same.
    fn rows(self, total: f64, rows: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let each = total / rows.max(1) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
        let fit = ((self.usd - self.spent).max(0.0) / each).min(1e18) as u64;
        fit.min(rows)
    }
}

impl Estimate {
    /// Prints the estimate.
    pub(super) fn print(&self, as_json: bool) -> Result<(), Failure> {
        match as_json {
            true => print(format!("{:#}\n", self.json()).as_bytes()),
            false => print(escape_controls(&self.text()).as_bytes()),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Shown { location, is_nested, messages } in &self.prompts {
            let indent = if *is_nested { "  " } else { "" };
            let _ = writeln!(text, "{indent}{location}:");
            super::show(&mut text, &format!("{indent}  "), messages);
        }
        if let Some(rows) = &self.rows {
            text.push_str(&rows.line());
        }
        if let Some((calls, basis)) = &self.calls {
            #[expect(clippy::cast_precision_loss, reason = "a count for people")]
            let _ = writeln!(text, "calls: about {}{basis}", short(*calls as f64));
        }
        text.push_str(&self.tokens());
        let _ = match &self.time {
            Some(Time::AtLeast(seconds, why)) => {
                writeln!(text, "time: at least {} {why}", seconds_text(*seconds))
            }
            Some(Time::About(seconds, why)) => writeln!(text, "time: about {} {why}", seconds_text(*seconds)),
            Some(Time::Said(words)) => writeln!(text, "time: {words}"),
            None => Ok(()),
        };
        text.push_str(&self.more);
        if let Some(Rows { invalid, first_invalid: Some(first), .. }) = &self.rows {
            let _ = writeln!(text, "invalid rows: {invalid}, the first: {first}");
        }
        for Cost { model, of, usd } in &self.costs {
            let date = &self.prices_date;
            let _ = match usd {
                Some(usd) => {
                    writeln!(text, "cost: about {} with {model}{of} (prices as of {date})", dollars(*usd))
                }
                None => {
                    writeln!(text, "cost: unknown with {model}: no price as of {date}; add one with --prices")
                }
            };
        }
        let is_known = self.costs.iter().any(|cost| cost.usd.is_some());
        if self.costs.len() > 1 && is_known {
            let _ = writeln!(text, "total: {}", self.total.text());
        }
        text.push_str(&self.budget_line().unwrap_or_default());
        text.push_str(&self.whole_line().unwrap_or_default());
        if let Some(first) = &self.incomplete {
            let _ = writeln!(text, "{first}");
        }
        if self.is_simulated {
            text.push_str(
                "estimated with simulated models: real answers may lead to different prompts and calls\n",
            );
        }
        text + END
    }

    fn tokens(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "counts for people")]
        let tokens = |n: u64| short(n as f64);
        let (sent, got) = (tokens(self.usage.input_tokens), tokens(self.usage.output_tokens));
        match self.output {
            OutputBasis::Usual => {
                format!("tokens: about {sent} in, about {got} out at {} per answer\n", Usage::EXPECTED_OUTPUT)
            }
            OutputBasis::Maximum => format!("tokens: about {sent} in, at most {got} out\n"),
            OutputBasis::None => format!("tokens: about {sent} in\n"),
        }
    }

    /// Compares the cost with the budget, and names the consequence.
    fn budget_line(&self) -> Option<String> {
        let budget = self.budget?;
        let Total { usd, .. } = self.total;
        let of = match budget.spent > 0.0 {
            true => format!("{}, of which {} is spent,", dollars(budget.usd), dollars(budget.spent)),
            false => dollars(budget.usd),
        };
        if budget.spent + usd <= budget.usd {
            return Some(format!("budget: {of} is enough\n"));
        }
        let needed = dollars(budget.spent + usd);
        Some(match self.rows.as_ref().map(Rows::to_run) {
            None => format!("budget: {of} is not enough: the run would fail at the first call beyond it\n"),
            Some(rows) if budget.rows(usd, rows) == 0 => {
                format!("budget: {of} is not enough for any of {rows} rows, which need about {needed}\n")
            }
            Some(rows) => format!(
                "budget: {of} is enough for about {} of {rows} rows: the run would stop there, and the same command \
                 with a budget of about {needed} would continue\n",
                budget.rows(usd, rows)
            ),
        })
    }

    /// The tokens and the cost of all rows of the input, of which the run takes a part.
    fn whole_line(&self) -> Option<String> {
        let (rows, share) = self.whole()?;
        let [sent, got] = [self.usage.input_tokens, self.usage.output_tokens].map(|n| short(times(n, share)));
        let out = if self.output == OutputBasis::None { String::new() } else { format!(", {got} out") };
        let cost = match self.costs.iter().any(|cost| cost.usd.is_some()) {
            true => format!(", cost {}", Total { usd: self.total.usd * share, ..self.total }.text()),
            false => String::new(),
        };
        Some(format!("all {rows} rows of the input: tokens about {sent} in{out}{cost}\n"))
    }

    /// The rows of the input, and how many times as much they are as those that the run would call.
    fn whole(&self) -> Option<(u64, f64)> {
        let rows = self.rows.as_ref()?;
        let (all, to_run) = (rows.of_input.filter(|all| *all > rows.taken)?, rows.to_run());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = (all * u64::from(rows.samples.max(1))) as f64 / (to_run + rows.equal) as f64;
        (to_run > 0).then_some((all, share))
    }

    fn json(&self) -> Value {
        let rows = self.rows.as_ref().map(|rows| {
            json!({
                "taken": rows.taken, "samples": rows.samples.max(1), "done": rows.done, "to_run": rows.to_run(),
                "invalid": rows.invalid, "first_invalid": rows.first_invalid, "equal": rows.equal,
                "of_input": rows.of_input,
            })
        });
        let costs: Vec<_> = self
            .costs
            .iter()
            .map(|cost| json!({ "model": cost.model, "of": cost.of.trim(), "cost_usd": cost.usd }))
            .collect();
        let is_known = self.costs.iter().any(|cost| cost.usd.is_some());
        let total = is_known.then_some(self.total.usd);
        let budget = self.budget.map(|budget| {
            let rows = self.rows.as_ref().map(Rows::to_run);
            json!({
                "usd": budget.usd, "spent_usd": budget.spent,
                "is_enough": budget.spent + self.total.usd <= budget.usd,
                "rows": rows.map(|rows| budget.rows(self.total.usd, rows)),
            })
        });
        let whole = self.whole().map(|(rows, share)| {
            json!({
                "rows": rows, "input_tokens": rounded_times(self.usage.input_tokens, share),
                "output_tokens": rounded_times(self.usage.output_tokens, share),
                "cost_usd": total.map(|usd| usd * share),
            })
        });
        let prompts: Vec<_> = self
            .prompts
            .iter()
            .map(|shown| json!({ "of": shown.location, "messages": shown.messages }))
            .collect();
        let seconds = match &self.time {
            Some(Time::AtLeast(seconds, _) | Time::About(seconds, _)) => Some(*seconds),
            _ => None,
        };
        json!({
            "dry_run": true, "rows": rows, "calls": self.calls.as_ref().map(|(calls, _)| calls),
            "usage": self.usage, "output_is_maximum": self.output == OutputBasis::Maximum, "seconds": seconds,
            "costs": costs, "cost_usd": total, "cost_is_partial": self.total.is_partial,
            "prices_date": self.prices_date, "budget": budget, "whole_input": whole,
            "incomplete": self.incomplete, "prompts": prompts,
        })
    }
}

impl Rows {
    fn line(&self) -> String {
        let Self { taken, samples, done, equal, .. } = self;
        let times = if *samples > 1 { format!(", {samples} samples each") } else { String::new() };
        let of = match self.of_input.filter(|all| all > taken) {
            Some(all) => format!(" of {all}"),
            None => String::new(),
        };
        let all = taken * u64::from((*samples).max(1));
        let done = match done {
            0 => String::new(),
            n if *n == all => format!(", and all {} done", if all == 1 { "is" } else { "are" }),
            n => format!(", {n} of {all} done"),
        };
        let equal = match equal {
            0 => String::new(),
            n => format!(", {n} with the request of an earlier row"),
        };
        format!("rows: {taken}{of}{times}{done}{equal}\n")
    }
}

impl Total {
    /// Adds the cost of calls that the run makes if `is_called`. `None` is unknown.
    pub(super) fn add(&mut self, usd: Option<f64>, is_called: bool) {
        self.usd += usd.unwrap_or_default();
        self.is_partial |= usd.is_none() && is_called;
    }

    fn text(self) -> String {
        let about = if self.is_partial { "at least" } else { "about" };
        let partial = if self.is_partial { ", without the models whose price is unknown" } else { "" };
        format!("{about} {}{partial}", dollars(self.usd))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn times(n: u64, share: f64) -> f64 {
    n as f64 * share
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is not negative")]
fn rounded_times(n: u64, share: f64) -> u64 {
    times(n, share).round() as u64
}

fn seconds_text(seconds: f64) -> String {
    rounded(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e12)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(taken: u64, done: u64, of_input: Option<u64>) -> Rows {
        Rows { taken, done, of_input, ..Rows::default() }
    }

    fn of(rows: Rows, usd: f64, budget: Option<(f64, f64)>) -> Estimate {
        Estimate {
            usage: Usage::new(1_000, 500),
            rows: Some(rows),
            costs: vec![Cost { model: "a/b".into(), of: " alone", usd: Some(usd) }],
            total: Total { usd, is_partial: false },
            prices_date: "2026-01-01".into(),
            budget: budget.map(|(usd, spent)| Budget { usd, spent }),
            ..Estimate::default()
        }
    }

    #[test]
    fn a_budget_is_compared_with_what_the_run_would_cost() {
        let line = |estimate: Estimate| estimate.budget_line().unwrap();
        assert_eq!(line(of(rows(200, 0, None), 0.5, Some((1.0, 0.0)))), "budget: $1.00 is enough\n");
        assert_eq!(
            line(of(rows(200, 0, None), 4.0, Some((1.0, 0.0)))),
            "budget: $1.00 is enough for about 50 of 200 rows: the run would stop there, and the same command with a \
             budget of about $4.00 would continue\n"
        );
        let half_done = of(rows(200, 100, None), 2.0, Some((2.5, 1.5)));
        assert_eq!(
            line(half_done),
            "budget: $2.50, of which $1.50 is spent, is enough for about 50 of 100 rows: the run would stop there, and the \
             same command with a budget of about $3.50 would continue\n"
        );
        assert_eq!(
            line(of(rows(2, 0, None), 4.0, Some((1.0, 0.0)))),
            "budget: $1.00 is not enough for any of 2 rows, which need about $4.00\n"
        );
        let one = Estimate { rows: None, ..of(rows(1, 0, None), 2.0, Some((1.0, 0.0))) };
        assert!(line(one).contains("would fail at the first call beyond it"));
    }

    #[test]
    fn a_part_of_the_input_is_extrapolated_to_all_of_it() {
        let part = of(rows(5, 0, Some(50)), 0.02, None);
        assert_eq!(
            part.whole_line().unwrap(),
            "all 50 rows of the input: tokens about 10k in, 5.0k out, cost about $0.20\n"
        );
        assert_eq!(part.rows.as_ref().unwrap().line(), "rows: 5 of 50\n");
        assert_eq!(of(rows(50, 0, Some(50)), 1.0, None).whole_line(), None);
        let json = part.json();
        assert_eq!(
            (&json["whole_input"]["rows"], &json["whole_input"]["input_tokens"]),
            (&json!(50), &json!(10_000))
        );
    }

    #[test]
    fn rows_that_are_done_are_counted_apart() {
        assert_eq!(rows(200, 150, None).line(), "rows: 200, 150 of 200 done\n");
        assert_eq!(rows(7, 7, None).line(), "rows: 7, and all are done\n");
        let samples = Rows { samples: 2, ..rows(4, 3, None) };
        assert_eq!(
            (samples.line(), samples.to_run()),
            ("rows: 4, 2 samples each, 3 of 8 done\n".to_owned(), 5)
        );
        let with_equal = Rows { equal: 2, ..rows(5, 1, None) };
        assert_eq!(
            (with_equal.line(), with_equal.to_run()),
            ("rows: 5, 1 of 5 done, 2 with the request of an earlier row\n".to_owned(), 2)
        );
    }

    #[test]
    fn a_total_names_unknown_prices() {
        let mut two = of(rows(2, 0, None), 0.5, None);
        two.costs.push(Cost { model: "c/d".into(), of: "", usd: None });
        two.total.is_partial = true;
        let text = two.text();
        assert!(
            text.contains("total: at least $0.50, without the models whose price is unknown\n"),
            "{text}"
        );
    }
}
