//! Worked examples of costs: the vendors' arithmetic by hand, with their prices of 2026-07-02.

use fanweave_core::Usage;

use super::Prices;

/// A model, the usage of a call, the share of a batch API, and the cost in US dollars.
type Example = (&'static str, Usage, f64, f64);

fn examples() -> Vec<Example> {
    let u = Usage::new;
    let million = 1_000_000;
    vec![
        // Input and output.
        ("openai/gpt-5.5", u(10_000, 2_000), 1.0, 0.05 + 0.06),
        ("openai/gpt-5.4-mini", u(million, million), 1.0, 0.75 + 4.50),
        ("openai/gpt-4o", u(4_000, 500), 1.0, 0.01 + 0.005),
        ("anthropic/claude-sonnet-5", u(50_000, 4_000), 1.0, 0.10 + 0.04),
        ("anthropic/claude-opus-4-8", u(20_000, 2_000), 1.0, 0.10 + 0.05),
        ("deepseek/deepseek-v4-pro", u(million, million), 1.0, 0.435 + 0.87),
        ("mistral/mistral-small-latest", u(100_000, 100_000), 1.0, 0.015 + 0.06),
        ("groq/openai/gpt-oss-120b", u(200_000, 50_000), 1.0, 0.03 + 0.03),
        // Tokens from the cache, which are part of the input.
        ("openai/gpt-5.4", u(200_000, 1_000).cached_tokens(160_000), 1.0, 0.10 + 0.04 + 0.015),
        ("openai/o3", u(100_000, 10_000).cached_tokens(50_000), 1.0, 0.10 + 0.025 + 0.08),
        ("gemini/gemini-2.5-flash", u(million, 0).cached_tokens(900_000), 1.0, 0.03 + 0.027),
        // Tokens that are written to the cache cost more than the input.
        ("anthropic/claude-sonnet-5", u(100_000, 0).cache_write_tokens(100_000), 1.0, 0.25),
        (
            "anthropic/claude-haiku-4-5",
            u(100_000, 2_000).cached_tokens(60_000).cache_write_tokens(20_000),
            1.0,
            0.02 + 0.006 + 0.025 + 0.01,
        ),
        // Reasoning is part of the output.
        ("openai/gpt-5.5", u(1_000, 20_000).reasoning_tokens(19_000), 1.0, 0.005 + 0.60),
        ("gemini/gemini-3.5-flash", u(10_000, 10_000).reasoning_tokens(8_000), 1.0, 0.015 + 0.09),
        // A prompt above the limit has other prices for all of its tokens, one at the limit has not.
        ("gemini/gemini-3.1-pro-preview", u(200_000, 10_000), 1.0, 0.40 + 0.12),
        ("gemini/gemini-3.1-pro-preview", u(300_000, 10_000), 1.0, 1.20 + 0.18),
        ("xai/grok-4.3", u(400_000, 20_000).cached_tokens(200_000), 1.0, 0.50 + 0.08 + 0.10),
        // Batch APIs cost half, of tiers as well.
        ("openai/gpt-5.5", u(300_000, 10_000), 0.5, (3.00 + 0.45) / 2.0),
        ("anthropic/claude-sonnet-4-5", u(100_000, 10_000), 0.5, (0.30 + 0.15) / 2.0),
    ]
}

#[test]
fn twenty_worked_examples_cost_what_the_vendors_ask() {
    let prices = Prices::builtin();
    let examples = examples();
    assert_eq!(examples.len(), 20);
    for (model, usage, share, expected) in examples {
        let price = prices.of(model).unwrap_or_else(|| panic!("{model} has a price"));
        let share = if share < 1.0 { price.batch.expect(model) } else { share };
        let cost = price.cost(&usage) * share;
        assert!((cost - expected).abs() < 1e-9, "{model}, {usage:?}: {cost}, not {expected}");
    }
}
