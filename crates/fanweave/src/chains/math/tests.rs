use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::model::fake::Fake;
use crate::{ErrorKind, Result as RunResult};

#[test]
fn sixty_expressions_have_their_exact_values() {
    let cases = [
        ("1 + 1", "2"),
        ("2**3**2", "512"),
        ("2^3", "8"),
        ("2^3^2", "512"),
        ("-2**2", "-4"),
        ("(-2)**2", "4"),
        ("2**-1", "0.5"),
        ("-2**-2", "-0.25"),
        ("-7 % 3", "2"),
        ("7 % -3", "-2"),
        ("-7 // 2", "-4"),
        ("5//2", "2"),
        ("7/2", "3.5"),
        ("6/2", "3"),
        ("7.5 % 2", "1.5"),
        ("-7.5 % 2", "0.5"),
        ("-7.5 // 2", "-4"),
        ("10**30", "1000000000000000000000000000000"),
        ("2**64", "18446744073709551616"),
        ("2**63 - 1", "9223372036854775807"),
        ("9223372036854775807 + 1", "9223372036854775808"),
        ("10**30 / 10**28", "100"),
        ("99999999999 * 99999999999", "9999999999800000000001"),
        ("123456789 * 987654321", "121932631112635269"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("2 * 3 ** 2", "18"),
        ("100 - 10 - 1", "89"),
        ("100 / 10 / 2", "5"),
        ("--3", "3"),
        ("+-+3", "-3"),
        ("3 - -3", "6"),
        ("1.5e3 + .5", "1500.5"),
        ("1e-5 * 10", "0.0001"),
        ("1.", "1"),
        ("sqrt(16)", "4"),
        ("sqrt(2)", "1.4142135623730951"),
        ("sqrt(10**40)", "100000000000000000000"),
        ("37593 ** (1/5)", "8.222831614237718"),
        ("exp(0)", "1"),
        ("log(e)", "1"),
        ("log10(1000)", "3"),
        ("log2(1024)", "10"),
        ("log2(2**2000)", "2000"),
        ("sin(0)", "0"),
        ("cos(pi)", "-1"),
        ("tan(0)", "0"),
        ("atan2(1, 1) * 4", "3.141592653589793"),
        ("arcsin(1) * 2", "3.141592653589793"),
        ("abs(-5)", "5"),
        ("abs(-5.5)", "5.5"),
        ("min(3, 1, 2)", "1"),
        ("max(3, 1.5, 2)", "3"),
        ("round(2.5)", "2"),
        ("round(3.5)", "4"),
        ("round(2.675, 2)", "2.67"),
        ("floor(-2.5)", "-3"),
        ("ceil(-2.5)", "-2"),
        ("2 < 3", "true"),
        ("2 + 2 == 4.0", "true"),
        ("10**16 + 1 == 10.0**16", "false"),
        ("1 >= 2", "false"),
        ("0 - 0.1 - 0.2", "-0.30000000000000004"),
        ("1e300 * 10", "1e301"),
        ("(10**400 + 10**399) / (7 * 10**399)", "1.5714285714285714"),
        (" ( 1\t+\n2 ) ", "3"),
        ("floor(10**20 / 3)", "33333333333333331968"),
        ("10**20 // 3", "33333333333333333333"),
        ("0**0", "1"),
        ("(-1)**10**6", "1"),
        ("3 x 4", "12"),
        ("3x4", "12"),
        ("2 × 3 · 4 ÷ 6", "4"),
        ("5 − −2", "7"),
        ("1,234,567 + 1", "1234568"),
        ("1,234.5 * 2", "2469"),
        ("max(1,234)", "234"),
        ("1,000 * max(1,2)", "2000"),
        ("gcd(12, 18, -30)", "6"),
        ("lcm(4, 6)", "12"),
        ("gcd(0, 0)", "0"),
        ("factorial(20)", "2432902008176640000"),
        ("factorial(0)", "1"),
        ("mod(-7, 3)", "2"),
    ];
    assert!(cases.len() >= 60);
    for (text, expected) in cases {
        match evaluate(text) {
            Ok(number) => assert_eq!(number.to_string(), expected, "{text}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn hostile_input_is_rejected_quickly() {
    let deep = "(".repeat(1000) + "1" + &")".repeat(1000);
    let long = vec!["1"; 300].join("+");
    let cases: Vec<String> = [
        "9**9**9",
        "9**9**9**9**9",
        "(10**4000)**2",
        "2**100000",
        "10**10**100",
        "10.0**400",
        "1e999",
        "1/0",
        "1 % 0",
        "1.5 // 0",
        "0**-1",
        "sqrt(-1)",
        "log(0)",
        "(-8)**(1/3)",
        "exp(1000)",
        "asin(2)",
        "１２ + ３",
        "\u{202e}1+1",
        "π",
        "__import__('os').system('id')",
        "open('/etc/passwd')",
        "(1).__class__",
        "1 .real",
        "[x for x in (1,2)]",
        "lambda: 1",
        "1; 2",
        "a = 1",
        "{{ 7 * 7 }}",
        "0x10",
        "1_000",
        "1,00",
        "1,0000",
        "0,123",
        "1 x",
        "2 xy",
        "factorial(-1)",
        "factorial(2.5)",
        "factorial(10**9)",
        "factorial(2000)",
        "gcd(1.5, 2)",
        "2 3",
        "2pi",
        "sin",
        "sin()",
        "sin(1, 2)",
        "nan",
        "inf",
        "1 < 2 < 3",
        "1 and 2",
        "(1 < 2) + 1",
        "1..2",
        ".",
        "",
        "()",
        "(1",
        "1)",
        "`ls`",
        "$(id)",
        "\0",
        "round(1.5, 10**9)",
        "max(",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        deep,
        "-".repeat(4000) + "1",
        "2**".repeat(1000) + "2",
        "sin(".repeat(500),
        long,
        "1+".repeat(1 << 19),
        "9".repeat(1 << 20),
        "(".repeat(1 << 20),
        "é".repeat(1 << 19),
        "9".repeat(4096) + "**9",
    ])
    .collect();
    assert!(cases.len() >= 30);
    for text in cases {
        let started = Instant::now();
        let outcome = evaluate(&text);
        let took = started.elapsed();
        let shown: String = text.chars().take(40).collect();
        let error = outcome.expect_err(&shown).to_string();
        assert!(error.len() < 1000, "a short error for {shown}: {} bytes", error.len());
        assert!(took < Duration::from_millis(50), "{shown} took {took:?}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let errors = ["2 +", "(1", "2 @ 3", "foo(1)", "1/0", "9**9**9", "sqrt(-1)", "1 < 2 < 3", ""]
        .map(|text| evaluate(text).unwrap_err().to_string())
        .join("\n");
    insta::assert_snapshot!(errors, @r"
    cannot evaluate `2 +`: at character 4: it ends where a number is expected
    cannot evaluate `(1`: at character 3: a `)` is missing
    cannot evaluate `2 @ 3`: at character 3: `@` is not expected here
    cannot evaluate `foo(1)`: `foo` is neither a function nor a constant
    cannot evaluate `1/0`: division by zero
    cannot evaluate `9**9**9`: the result is too large
    cannot evaluate `sqrt(-1)`: sqrt: the result is not a real number
    cannot evaluate `1 < 2 < 3`: at character 7: comparisons cannot be chained: compare two values
    cannot evaluate ``: it is empty
    ");
}

/// A well-formed expression.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0u32..1000).prop_map(|n| n.to_string()),
        (0.0f64..100.0).prop_map(|x| x.to_string()),
        Just("pi".to_owned())
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "/", "//", "%", "**", "^"]);
        let function = prop::sample::select(vec!["sqrt", "exp", "sin", "abs", "floor", "round"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (function, inner).prop_map(|(f, a)| format!("{f}({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_it_panic_or_slow(text in "[-+*/%^()0-9.eE a-z<>=!,]{0,200}") {
        let started = Instant::now();
        let _ = evaluate(&text);
        prop_assert!(started.elapsed() < Duration::from_millis(500));
    }

    #[test]
    fn no_unicode_makes_it_panic(text in any::<String>()) {
        let _ = evaluate(&text);
    }

    #[test]
    fn expressions_are_parsed_and_give_finite_numbers(text in expression()) {
        prop_assert!(parse::parse(&text).is_ok(), "{}", text);
        if let Ok(number) = evaluate(&text) {
            prop_assert!(number.to_string().len() < 6000);
        }
    }

    #[test]
    fn whole_arithmetic_is_exact(a in any::<i64>(), b in any::<i64>(), c in 1i64..1_000_000) {
        let (wide, of) = (i128::from(a), |text: String| evaluate(&text).unwrap().to_string());
        prop_assert_eq!(of(format!("({a}) * ({b})")), (wide * i128::from(b)).to_string());
        prop_assert_eq!(of(format!("({a}) // ({c})")), wide.div_euclid(i128::from(c)).to_string());
        prop_assert_eq!(of(format!("({a}) % ({c})")), wide.rem_euclid(i128::from(c)).to_string());
        prop_assert_eq!(of(format!("(({a}) // ({c})) * ({c}) + ({a}) % ({c})")), a.to_string());
    }

    #[test]
    fn a_quotient_is_the_nearest_float(a in 1u64.., b in 1u64.., shift in 0u32..1000) {
        // Scaling both sides by the same power of two changes nothing.
        let plain = evaluate(&format!("{a} / {b}")).unwrap().to_f64();
        let scaled = evaluate(&format!("({a} * 2**{shift}) / ({b} * 2**{shift})")).unwrap().to_f64();
        prop_assert_eq!(plain, scaled);
    }
}

async fn compute(answer: &str) -> RunResult<MathAnswer> {
    Math::new(Fake::script([Ok(answer)]).model()).chain().invoke("how much?").await
}

#[tokio::test]
async fn fenced_bare_and_ready_answers_are_read() {
    for (answer, expected) in [
        ("```\n12 * 7\n```", "84"),
        ("Here it is:\n```text\n2**3\n```\nDone.", "8"),
        ("```12*7```", "84"),
        ("```python\n1 + 1\n```", "2"),
        ("Answer: 42", "42"),
        ("It is simple. Answer: 6 * 7.", "42"),
        ("6 * 7", "42"),
        ("`6 * 7`", "42"),
        ("sqrt(16)", "4"),
    ] {
        assert_eq!(compute(answer).await.unwrap().answer, expected, "{answer}");
    }
}

#[tokio::test]
async fn anything_else_is_an_error_that_shows_the_text() {
    let error = compute("I cannot do sums.").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Parse);
    assert!(error.to_string().contains("I cannot do sums."), "{error}");
    let error = compute("```\n__import__('os')\n```").await.unwrap_err();
    assert!(error.to_string().contains("cannot evaluate `__import__"), "{error}");
    assert!(compute("Answer: none").await.unwrap_err().to_string().contains("Answer: none"));
}

#[tokio::test]
async fn the_stream_holds_the_answer_and_not_the_expression() {
    use futures::StreamExt;
    let math = Math::new(Fake::script([Ok("```\n12 * 7\n```")]).model()).chain();
    let pieces: Vec<_> = math.stream("?").map(|piece| piece.unwrap().to_string()).collect().await;
    assert_eq!(pieces, ["Answer: 84"]);
}
