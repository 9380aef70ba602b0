use http::HeaderName;

use super::*;
use crate::providers::compatible::ROWS;

#[test]
fn a_models_name_may_hold_slashes() {
    let (vendor, model) = Vendor::of("openrouter/meta-llama/llama-3").unwrap();
    assert_eq!((vendor.name(), model), ("openrouter", "meta-llama/llama-3"));
}

#[test]
fn an_unknown_vendor_is_refused_with_the_one_that_was_meant() {
    let error = Vendor::of("opnai/gpt-5-mini").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error
            .message()
            .starts_with("unknown provider `opnai`: did you mean `openai`? known providers: openai, ")
    );
    assert!(
        Vendor::of("nonsense/x").unwrap_err().message().starts_with("unknown provider `nonsense`: known")
    );
}

#[test]
fn a_name_without_a_provider_says_how_to_write_one() {
    for name in ["gpt-5-mini", "openai/", ""] {
        let error = Vendor::of(name).unwrap_err();
        assert!(error.message().contains("use provider/model, such as openai/gpt-5-mini"), "{error}");
    }
}

#[test]
fn the_environment_wins_over_the_table_unless_it_is_empty() {
    let (openai, _) = Vendor::of("openai/x").unwrap();
    let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| " https://proxy.example/v1\n".to_owned());
    assert_eq!(openai.url(&env).unwrap(), "https://proxy.example/v1");
    assert_eq!(openai.url(&|_| Some(String::new())).unwrap(), "https://api.openai.com/v1");
    assert_eq!(openai.key(&|_| Some("  ".to_owned())), None);
}

#[test]
fn the_host_of_ollama_may_be_written_as_ollama_takes_it() {
    for (host, url) in [
        ("0.0.0.0", "http://localhost:11434"),
        (":8080", "http://localhost:8080"),
        ("gpu-box:11500", "http://gpu-box:11500"),
        ("https://ollama.example/", "https://ollama.example"),
        ("http://box/proxy", "http://box:11434/proxy"),
        ("[::1]", "http://[::1]:11434"),
    ] {
        assert_eq!(ollama_url(host), url);
    }
}

#[test]
fn a_missing_environment_variable_is_named() {
    let (azure, _) = Vendor::of("azure/gpt-5-mini").unwrap();
    let error = azure.url(&|_| None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.message(), "AZURE_OPENAI_ENDPOINT is not set: export it, or set the base URL of azure");
    for endpoint in ["https://r.openai.azure.com/", "https://r.openai.azure.com/openai/v1/"] {
        let url = azure.url(&|_| Some(endpoint.to_owned())).unwrap();
        assert_eq!(url, "https://r.openai.azure.com/openai/v1");
    }
    let (bedrock, _) = Vendor::of("bedrock/openai.gpt-oss-20b-1:0").unwrap();
    assert!(bedrock.url(&|_| None).unwrap_err().message().starts_with("AWS_REGION is not set"));
    let env = |name: &str| (name == "AWS_DEFAULT_REGION").then(|| "eu-west-1".to_owned());
    assert_eq!(bedrock.url(&env).unwrap(), "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1");
}

#[test]
fn a_workspace_and_an_account_are_part_of_the_url() {
    let (databricks, _) = Vendor::of("databricks/databricks-claude").unwrap();
    for host in [
        "dbc-1.cloud.databricks.com",
        "https://dbc-1.cloud.databricks.com/",
        "https://dbc-1.cloud.databricks.com/serving-endpoints",
    ] {
        let url = databricks.url(&|_| Some(host.to_owned())).unwrap();
        assert_eq!(url, "https://dbc-1.cloud.databricks.com/serving-endpoints");
    }
    let (cloudflare, model) = Vendor::of("cloudflare/@cf/meta/llama").unwrap();
    assert_eq!(model, "@cf/meta/llama");
    assert!(cloudflare.url(&|_| None).unwrap_err().message().starts_with("CLOUDFLARE_ACCOUNT_ID is not set"));
    let url = cloudflare.url(&|name| (name == "CLOUDFLARE_ACCOUNT_ID").then(|| "acc".to_owned())).unwrap();
    assert_eq!(url, "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1");
}

#[test]
fn a_key_and_a_token_go_into_their_own_headers() {
    let (anthropic, _) = Vendor::of("anthropic/claude").unwrap();
    let named = KeyHeader::Named(HeaderName::from_static("x-api-key"));
    assert_eq!(anthropic.key(&|_| Some("k".to_owned())), Some(("k".to_owned(), named)));
    let token = |name: &str| (name == "ANTHROPIC_AUTH_TOKEN").then(|| "t".to_owned());
    assert_eq!(anthropic.key(&token), Some(("t".to_owned(), KeyHeader::Bearer)));
}

#[test]
fn every_row_is_well_formed() {
    for row in ROWS {
        let vendor = Vendor::from(row);
        let url = vendor.url(&|variable| {
            ["REGION", "ACCOUNT"].iter().any(|part| variable.contains(part)).then(|| "eu-west-1".to_owned())
        });
        let own = matches!(row.base_url, BaseUrl::Own);
        let url = url.map(|url| crate::transport::endpoint::Endpoint::parse(&url).expect("a URL"));
        assert_eq!(url.is_err(), own, "{row:?}");
        assert!(vendor.versioned_protocol(None).is_ok());
        assert!(!row.needs_key || !row.key_variables.is_empty(), "{row:?}");
    }
}

#[test]
fn a_registered_vendor_is_found_and_suggested_for_a_typing_error() {
    register(Vendor::new("acme-typo", "https://acme.example/v1").key_variable("ACME_KEY")).unwrap();
    let (vendor, model) = Vendor::of("acme-typo/big/model").unwrap();
    assert_eq!((vendor.name(), model), ("acme-typo", "big/model"));
    assert_eq!(vendor.url(&|_| None).unwrap(), "https://acme.example/v1");
    assert!(vendor.requires_key());
    assert_eq!(key_variables("acme-typo"), Some(&["ACME_KEY"][..]));
    assert!(vendors().any(|name| name == "acme-typo"));
    let error = Vendor::of("acme-typ/x").unwrap_err();
    assert!(error.message().contains("did you mean `acme-typo`?"), "{error}");
}

#[test]
fn a_name_is_taken_only_once_and_an_invalid_one_is_refused() {
    register(Vendor::new("acme-twice", "https://a.example")).unwrap();
    for name in ["acme-twice", "openai", "sim"] {
        let error = register(Vendor::new(name, "https://b.example")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.message(), format!("there is already a provider `{name}`: choose another name"));
    }
    for name in ["", "a/b", "a b", "é"] {
        let error = register(Vendor::new(name, "https://b.example")).unwrap_err();
        assert!(error.message().contains("is not a valid name of a vendor"), "{error}");
    }
    // The first one stays.
    assert_eq!(Vendor::of("acme-twice/x").unwrap().0.url(&|_| None).unwrap(), "https://a.example");
}

#[test]
fn vendors_registered_on_many_threads_are_all_found() {
    std::thread::scope(|threads| {
        for thread in 0..4 {
            threads.spawn(move || {
                for n in 0..20 {
                    register(Vendor::new(format!("acme-{thread}-{n}"), "https://a.example")).unwrap();
                    // One of the four wins.
                    let _ = register(Vendor::new(format!("acme-shared-{n}"), "https://a.example"));
                }
            });
        }
    });
    let count = |start: &str| vendors().filter(|name| name.starts_with(start)).count();
    assert_eq!([count("acme-0-"), count("acme-3-"), count("acme-shared-")], [20, 20, 20]);
}
