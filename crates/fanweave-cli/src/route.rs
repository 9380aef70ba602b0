//! Several models or keys for one batch: rows are spread over them by weight, and fall back.

use std::sync::atomic::{AtomicU64, Ordering};

use fanweave::{Chain, Context, Message, Model, Prompt, Runnable, Streaming, chain};

use crate::args::BatchArgs;
use crate::exit::Failure;
use crate::models::{Connected, Terms, connect, no_model};

/// A model as it was written on the command line, and its share of the rows.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    model: String,
    weight: u64,
}

/// The models of a batch. What they need to run is stopped when it is dropped.
pub(crate) struct Routed {
    pub(crate) chain: Chain<Prompt, Message>,
    /// Names of all models that may be called, each once.
    pub(crate) names: Vec<String>,
    /// The greatest share of the rows that one account is given, from 0 to 1.
    pub(crate) most: f64,
    _connected: Vec<Connected>,
}

/// Connects to all models that the flags name.
pub(crate) fn route(args: &BatchArgs, keep_raw: bool) -> Result<Routed, Failure> {
    let shares = shares(args.model.model.as_deref().ok_or_else(no_model)?)?;
    let keys: Vec<_> = match args.key_env.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let is_dry = args.dry_run;
    let mut connected = Vec::new();
    let mut reach = |model: &str| -> Result<Vec<Model>, Failure> {
        let args = crate::args::ModelArgs { model: Some(model.to_owned()), ..args.model.clone() };
        let reach = |key_env: &Option<&str>| {
            connect(&args, Terms { key_env: *key_env, keep_raw, dry: is_dry, ..Terms::default() })
        };
        let all = keys.iter().map(reach).collect::<Result<Vec<_>, _>>()?;
        let models = all.iter().map(|one| one.model.clone()).collect();
        connected.extend(all);
        Ok(models)
    };
    let mut lanes = Vec::new();
    for share in &shares {
        lanes.extend(reach(&share.model)?.into_iter().map(|model| (model, share.weight)));
    }
    let fallbacks = args.fallback_model.iter().map(|name| reach(name)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = Vec::new();
    for name in connected.iter().map(|one| one.model.name()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    let weights = || lanes.iter().map(|(_, weight)| *weight);
    #[expect(clippy::cast_precision_loss, reason = "weights are small")]
    let most = weights().max().unwrap_or(1) as f64 / weights().sum::<u64>().max(1) as f64;
    let mut routed = spread(lanes);
    if !fallbacks.is_empty() {
        routed = routed.fallback(
            fallbacks.into_iter().map(|models| spread(models.into_iter().map(|m| (m, 1)).collect())),
        );
    }
    Ok(Routed { chain: routed, names, most, _connected: connected })
}

/// Reads `a/b=3,c/d`: models with their weights, 1 where none is given.
fn shares(text: &str) -> Result<Vec<Share>, Failure> {
    let wrong = |why: String| Failure::usage(format!("--model {text}: {why}"));
    let share = |one: &str| {
        let (model, weight) = one.rsplit_once('=').map_or((one, "1"), |(model, weight)| (model, weight));
        match weight.trim().parse() {
            Ok(weight @ 1..=1_000) => Ok(Share { model: model.trim().to_owned(), weight }),
            _ => Err(wrong(format!("the weight `{weight}` is no whole number from 1 to 1000"))),
        }
    };
    let shares = text.split(',').map(share).collect::<Result<Vec<_>, _>>()?;
    if shares.iter().any(|share| share.model.is_empty()) {
        return Err(wrong("a name is missing beside a comma".to_owned()));
    }
    Ok(shares)
}

/// One step for all models.
fn spread(mut lanes: Vec<(Model, u64)>) -> Chain<Prompt, Message> {
    match (lanes.len(), lanes.pop()) {
        (1, Some((model, _))) => chain(model),
        (_, last) => {
            lanes.extend(last);
            let whole = lanes.iter().map(|(_, weight)| weight).sum();
            chain(Spread { lanes, whole, next: AtomicU64::new(0) })
        }
    }
}

/// Spreads calls over models by weight.
struct Spread {
    lanes: Vec<(Model, u64)>,
    /// All weights together.
    whole: u64,
    next: AtomicU64,
}

impl Spread {
    /// The model of call number `n`. The calls of each are spread evenly rather than sent in runs.
    fn lane(&self, n: u64) -> &Model {
        // A step of about the golden ratio of the whole, and no divisor of it, visits every place once.
        let step = (1..=self.whole).rev().find(|s| *s * 1000 <= self.whole * 618 && coprime(*s, self.whole));
        let mut place = (n % self.whole) * step.unwrap_or(1) % self.whole;
        for (model, weight) in &self.lanes {
            match place.checked_sub(*weight) {
                Some(rest) => place = rest,
                None => return model,
            }
        }
        unreachable!("a place is less than all weights together")
    }
}

fn coprime(a: u64, b: u64) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

impl Runnable for Spread {
    type Input = Prompt;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> fanweave::Result<Message> {
        self.lane(self.next.fetch_add(1, Ordering::Relaxed)).run(prompt, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_gets_its_share_and_no_run_of_one_is_long() {
        let model = |name: &str| fanweave::model(name).unwrap();
        for (a, b) in [(1, 1), (3, 1), (7, 5), (100, 1), (1, 1000)] {
            let spread = Spread {
                lanes: vec![(model("sim/writer"), a), (model("sim/echo"), b)],
                whole: a + b,
                next: AtomicU64::new(0),
            };
            let calls: Vec<_> = (0..(a + b)).map(|n| spread.lane(n).name() == "sim/writer").collect();
            assert_eq!(calls.iter().filter(|writer| **writer).count() as u64, a, "{a}:{b}");
        }
    }

    #[test]
    fn models_and_weights_are_read_from_one_word() {
        let read = |text: &str| {
            shares(text).map(|all| all.into_iter().map(|s| (s.model, s.weight)).collect::<Vec<_>>())
        };
        assert_eq!(read("a/b").unwrap(), [("a/b".to_owned(), 1)]);
        assert_eq!(read("a/b=3, c/d:free").unwrap(), [("a/b".to_owned(), 3), ("c/d:free".to_owned(), 1)]);
        assert!(read("a/b=0").is_err() && read("a/b,").is_err() && read("a/b=x").is_err());
    }
}
