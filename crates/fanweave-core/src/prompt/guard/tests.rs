use proptest::prelude::*;

use crate::prompt::RenderLimits;
use crate::{ErrorKind, Result, Template, Vars, vars};

/// The templates of the file, with their names and what they end with.
fn bombs() -> Vec<(&'static str, &'static str, String)> {
    let lines = include_str!("bombs.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(" | ").unwrap();
            let (end, text) = rest.split_once(" | ").unwrap();
            (name, end, repeated(text))
        })
        .collect()
}

fn repeated(text: &str) -> String {
    let mut parts = text.split('«');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (what, after) = part.split_once('»').unwrap();
        let (times, what) = what.split_once(':').unwrap();
        out += &what.repeat(times.parse().unwrap());
        out += after;
    }
    out
}

fn render(text: &str, vars: &Vars) -> Result<String> {
    Template::parse(text)?.render(vars)
}

#[test]
fn every_bomb_ends_at_its_limit() {
    // A sixteenth of the default: this is not built for speed.
    let limits = RenderLimits::default().max_work_bytes(4 << 20);
    for (name, end, text) in bombs() {
        let error = Template::parse(text).unwrap().with_limits(limits).render(&vars! {}).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Input, "{name}: {error}");
        let limit = match end {
            "work" => "it takes more work than its limit of 4 MiB",
            "levels" => "it makes values of more than 128 levels",
            "namespace" => "a namespace cannot hold a namespace, a loop or a function",
            _ => {
                assert!(!error.message().contains("limit of"), "{name}: {error}");
                continue;
            }
        };
        assert_eq!(error.message(), format!("the template cannot be rendered: line 1: {limit}"), "{name}");
    }
}

#[test]
fn the_deepest_values_fit_on_a_small_stack() {
    let deep = |open: &str, close: &str| {
        format!(
            "{{% set ns=namespace(x=1) %}}{{% for i in range(100) %}}{{% set ns.x={open}ns.x{close} %}}{{% endfor %}}"
        )
    };
    let ends = [
        "{{ ns.x }}",
        "{{ ns.x|tojson }}",
        "{{ ns.x|pprint }}",
        "{{ ns.x == [ns.x] }}",
        "{{ [ns.x]|unique|length }}",
    ];
    let render_all = move || {
        for (open, close) in
            [("[", "]"), ("{'a':", "}"), ("(", ",)"), ("[", "]|batch(1)|reverse"), ("[[1],", "]|zip([1])")]
        {
            for end in ends {
                render(&(deep(open, close) + end), &vars! {})
                    .map(drop)
                    .or_else(|error| {
                        assert!(error.message().contains("levels"), "{error}");
                        Ok::<_, crate::Error>(())
                    })
                    .unwrap();
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(render_all).unwrap().join().unwrap();
}

#[test]
fn long_but_honest_templates_are_rendered() {
    let rows: Vec<_> =
        (0..10_000).map(|n| serde_json::json!({ "q": format!("What is {n}?"), "a": n })).collect();
    let sections: Vec<_> = (0..5_000).map(|_| "word ".repeat(400)).collect();
    let vars = vars! { rows: rows, sections: sections, text: "x".repeat(1 << 20) };
    for (text, at_least) in [
        (
            "{% for r in rows %}Q: {{ r.q }}\nA: {{ r.a }}{% if loop.index < rows|length %}\n{% endif %}{% endfor %}",
            200_000,
        ),
        ("{{ sections | join('\n\n') }}", 10_000_000),
        ("{% for s in sections %}{{ loop.index }}. {{ s | trim }}\n{% endfor %}", 9_000_000),
        ("{{ text }} and {{ text | upper }} and {{ text | tojson }}", 3 << 20),
        ("{{ rows }}", 300_000),
        ("{{ rows | tojson(indent=2) }}", 400_000),
        ("{{ rows | map(attribute='q') | join }}", 100_000),
        ("{{ rows | selectattr('a', 'gt', 5000) | map(attribute='q') | sort | join }}", 50_000),
        ("{% for g in rows[:500] | groupby('a') %}{{ g.grouper }}{% endfor %}", 500),
        (
            "{% set ns = namespace(l=[]) %}{% for r in rows[:1500] %}{% set ns.l = ns.l + [r.q] %}{% endfor %}{{ ns.l | join }}",
            15_000,
        ),
        ("{% for k, v in rows[0] | items %}{{ k }}={{ v }} {% endfor %}", 10),
    ] {
        let len = render(text, &vars).unwrap_or_else(|error| panic!("{text}: {error}")).len();
        assert!(len >= at_least, "{text}: {len}");
    }
}

#[test]
fn ordinary_prompts_are_rendered_as_they_are() {
    for text in [
        "Tell a joke about {{ topic }}.",
        "{% for r in rows %}{{ loop.index + 1 }}. {{ r.q | trim }}{% if not loop.last %}, {% endif %}{% endfor %}",
        "{{ doc | tojson }} {{ tags | join(', ') }} {{ x | default('none') }}",
        "{% if tone == 'formal' and n > 3 %}{{ a ~ ' ' ~ b }}{% elif lang is defined %}{{ lang | upper }}{% endif %}",
        "{% set n = 3 %}{% for i in range(n) %}{{ i }}{% endfor %}",
    ] {
        assert!(!Template::parse(text).unwrap().is_guarded(), "{text}");
    }
    for text in [
        "{{ a + b }}",
        "{{ [a] }}",
        "{{ a[1:] }}",
        "{% set ns = namespace() %}",
        "{{ a == b }}",
        "{{ a * 2 }}",
    ] {
        assert!(Template::parse(text).unwrap().is_guarded(), "{text}");
    }
}

#[test]
fn an_error_of_a_guarded_template_names_its_line() {
    let error = render("one\n{% set x = [1] + [2] %}\n{{ x / 2 }}", &vars! {}).unwrap_err();
    assert!(
        error.message().starts_with("the template cannot be rendered: line 3: tried to use /"),
        "{error}"
    );
    let error = render("one\n{{ [given] }}\n{{ missing }}", &vars! { given: 1 }).unwrap_err();
    assert_eq!(error.message(), "the template needs `missing`, but only `given` is given");
}

/// Expressions for a number, a text, a list and a truth.
fn expression() -> impl Strategy<Value = [String; 4]> {
    let one_of = |texts: &'static [&'static str]| proptest::sample::select(texts).prop_map(str::to_owned);
    let leaves = (
        one_of(&["a", "0", "7", "(m.n)"]),
        one_of(&["s", "''", "'xyz'", "m['t']"]),
        one_of(&["l", "[]", "[1, 'b', 2]", "m|items|list", "((1, 'z')|list)"]),
        one_of(&["true", "false", "m.n is defined"]),
    );
    let leaf = leaves.prop_map(|(n, t, l, b)| [n, t, l, b]);
    leaf.prop_recursive(4, 24, 3, |inner| {
        (inner.clone(), inner.clone(), inner, 0..12_usize).prop_map(
            |([n, t, l, b], [n2, t2, l2, b2], [n3, ..], how)| {
                let number = match how % 6 {
                    0 => format!("({n} + {n2})"),
                    1 => format!("({n} * {n2})"),
                    2 => format!("({l})|length"),
                    3 => format!("({n} if {b} else {n2})"),
                    4 => format!("dict(a={n}, b={n2}).b"),
                    _ => format!("({l}).index"),
                };
                let text = match how % 7 {
                    0 => format!("({t} ~ {n})"),
                    1 => format!("({t} + {t2})"),
                    2 => format!("({t})[1:]"),
                    3 => format!("({l})|join({t2})"),
                    4 => format!("({l})|tojson"),
                    5 => format!("({t} * 2)|upper"),
                    _ => format!("({l} ~ {l2})"),
                };
                let list = match how {
                    0 => format!("({l} + {l2})|list"),
                    1 => format!("({l} * 2)|list"),
                    2 => format!("({l})[1:]|list"),
                    3 => format!("({l})|reverse|list"),
                    4 => format!("[{n}, {t}, {l}]"),
                    5 => format!("({l})|map('string')|sort|list"),
                    6 => format!("({l})|zip({l2})|list"),
                    7 => format!("({l})|batch(2, {n})|list"),
                    8 => format!("({l})|map('string')|unique|list"),
                    9 => format!("({l})|select('ne', {n})|list"),
                    10 => format!("{{'a': {l}, 'b': {t}}}|dictsort"),
                    _ => format!("range(*[{n} % 5])|list"),
                };
                let truth = match how % 8 {
                    0 => format!("({n} == {n2})"),
                    1 => format!("({l} == {l2})"),
                    2 => format!("({n} < {n2} <= {n3})"),
                    3 => format!("({n} in {l})"),
                    4 => format!("({t} not in {t2})"),
                    5 => format!("({b} and {b2})"),
                    6 => format!("({n} is eq({n2}))"),
                    _ => format!("({t} < {t2} or {b})"),
                };
                [number, text, list, truth]
            },
        )
    })
}

fn template() -> impl Strategy<Value = String> {
    let statement = (expression(), 0..8_usize).prop_map(|([n, t, l, b], how)| match how {
        0 => format!("{{{{ {n} }}}}"),
        1 => format!("{{{{ {t} }}}}{{{{ {b} }}}}"),
        2 => format!("{{{{ {l} }}}}"),
        3 => format!("{{% set l = {l} %}}{{{{ l }}}}"),
        4 => format!("{{% for i in {l} if i != {n} %}}{{{{ i }}}}{{{{ loop.cycle({t}, {n}) }}}}{{% else %}}none{{% endfor %}}"),
        5 => format!("{{% if {b} %}}{{{{ {n} }}}}{{% else %}}{{{{ {t} }}}}{{% endif %}}"),
        6 => format!("{{% set ns.x = {l} %}}{{{{ ns.x == {l} }}}}{{{{ ns.x }}}}"),
        _ => format!("{{% set s %}}{{{{ {t} }}}}{{{{ {l} }}}}{{% endset %}}{{{{ s }}}}"),
    });
    proptest::collection::vec(statement, 1..5)
        .prop_map(|statements| format!("{{% set ns = namespace(x=1) %}}{}", statements.join("\n")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn guards_change_no_result(text in template()) {
        let vars = vars! { a: 3, s: "abc", l: [1, 2, 3], m: serde_json::json!({ "n": 5, "t": "text" }) };
        let guarded = Template::parse(&text).unwrap();
        prop_assert!(guarded.is_guarded());
        let plain = guarded.clone().unguarded().render(&vars);
        let guarded = guarded.render(&vars);
        prop_assert_eq!(guarded.map_err(|e| e.to_string()), plain.map_err(|e| e.to_string()));
    }
}

#[tokio::test]
async fn a_long_rendering_leaves_the_thread_of_its_task() {
    use futures::FutureExt;

    let loops = "{% for a in range(n) %}{% for b in range(n) %}.{% endfor %}{% endfor %}";
    let template = Template::parse(loops).unwrap();
    let quick = template.render_async(&vars! { n: 5 }).now_or_never();
    assert_eq!(quick.expect("it is rendered here").unwrap().len(), 25);
    assert!(template.render_async(&vars! { n: 200 }).now_or_never().is_none());
    assert_eq!(template.render_async(&vars! { n: 200 }).await.unwrap().len(), 40_000);
    let error = template.render_async(&vars! { n: 9_000 }).await.unwrap_err();
    assert!(error.message().contains("its limit of 64 MiB"), "{error}");
}

#[tokio::test]
async fn steps_with_templates_render_long_ones_elsewhere() {
    use futures::FutureExt;

    use crate::prompt::{FewShot, chat};
    use crate::{DagStep, chain, dag};

    let long = "{% for a in range(200) %}{% for b in range(200) %}.{% endfor %}{% endfor %}{{ x }}";
    let examples = || FewShot::new(long, long, [vars! { x: 1 }]).unwrap();
    let dag = dag().input("x").step(DagStep::template("long", long).unwrap()).build().unwrap();
    let vars = || vars! { x: 1 };
    assert!(crate::prompt(long).invoke(vars()).now_or_never().is_none());
    assert!(chain(chat().user(long)).invoke(vars()).now_or_never().is_none());
    assert!(chain(chat().examples(examples())).invoke(vars()).now_or_never().is_none());
    assert!(dag.invoke(vars()).now_or_never().is_none());
    let prompt = chain(chat().user(long).examples(examples())).invoke(vars()).await.unwrap();
    assert_eq!(prompt.messages.iter().map(|message| message.text().len()).collect::<Vec<_>>(), [40_001; 3]);
}

#[test]
fn a_rendering_ends_at_its_memory() {
    let limits = RenderLimits::default().max_memory_bytes(12 << 20);
    let error_of = |text: &str| {
        let template = Template::parse(text).unwrap().with_limits(limits);
        template.render(&vars! {}).map(|text| text.len()).unwrap_err().message().to_owned()
    };
    let limit = "the template cannot be rendered: line 1: it takes more memory than its limit of 12 MiB";
    for (name, end, text) in bombs() {
        if end == "work" {
            assert_eq!(error_of(&text), limit, "{name}");
        }
    }
    // A copy of so many steps takes all of it.
    assert_eq!(error_of(&"{% set x = [] %}".repeat(60_000)), limit);
    let small = RenderLimits::default().max_memory_bytes(1 << 20);
    let template = Template::parse("Tell a joke about {{ x }}.").unwrap().with_limits(small);
    assert_eq!(template.render(&vars! { x: "bears" }).unwrap(), "Tell a joke about bears.");
}

#[test]
fn filters_refuse_what_they_could_not_pay_for() {
    let limits = RenderLimits::default().max_work_bytes(1 << 20);
    let template = |text: &str| Template::parse(text).unwrap().with_limits(limits);
    let long =
        vars! { x: "<".repeat(300 << 10), lines: "\n".repeat(300 << 10), cased: "\u{390}".repeat(150 << 10) };
    for text in [
        "{{ x | escape | length }}",
        "{{ x | tojson | length }}",
        "{{ cased | upper | length }}",
        "{{ x | split('') | length }}",
        "{{ lines | lines | length }}",
        "{{ [x] | string | length }}",
        "{{ x[::-1] | length }}",
        "{{ '%(a)s%(a)s%(a)s%(a)s' | format(a=x) | length }}",
        "{{ (['a' * 1000] * 1000) | sum(start='') | length }}",
        "{{ (['a' * 1000] * 1000) | sum(none, '') | length }}",
        "{% for p in ['split', 'lines'] %}{{ [lines] | map(p, '\n') | list | length }}{% endfor %}",
    ] {
        let error = template(text).render(&long).expect_err(text);
        assert!(error.message().ends_with("it takes more work than its limit of 1 MiB"), "{text}: {error}");
    }
    let short = vars! { x: "a<b", n: 3 };
    for (text, result) in [
        (
            "{{ x | escape }} {{ x | e }} {{ x | upper }} {{ x | title }} {{ 'ABC' | lower }}",
            "a&lt;b a&lt;b A<B A<B abc",
        ),
        (
            "{{ x | tojson }} {{ x | split('<') | join(' ') }} {{ 'a\nb' | lines | length }}",
            "\"a\\u003cb\" a b 2",
        ),
        ("{{ [1, 2] | sum }} {{ ['a', 'b'] | sum(start='') }} {{ '%s-%d' | format(x, n) }}", "3 ab a<b-3"),
        (
            "{{ '%(a)s' | format(a=x) }} {{ x[::-1] }} {{ 'a b' | split | length }} {{ 'a,b,c' | split(',', 1) | last }}",
            "a<b b<a 2 b,c",
        ),
    ] {
        assert_eq!(template(text).render(&short).unwrap(), result);
    }
}
