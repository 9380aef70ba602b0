//! The items of a JSON array, each as soon as it is complete.

use futures::{StreamExt, stream};
use serde::de::DeserializeOwned;

use crate::many::Many;
use crate::parse::partial::Partial;
use crate::run::Run;
use crate::runnable::Chain;
use crate::{Error, ErrorKind, Message, Result};

/// Reads an answer item by item.
pub(super) fn items<I: Send + 'static, T>(chain: Chain<I, Message>) -> Many<I, T>
where
    T: DeserializeOwned + Send + 'static,
{
    Many::new(move |input, cx| {
        let state = (Run::new(&chain, input, cx), Partial::of_items(), false);
        stream::unfold(state, |(mut run, mut partial, ended)| async move {
            if ended {
                return None;
            }
            let (read, ended): (Vec<Result<T>>, bool) = match run.next().await {
                Some(Ok(delta)) => {
                    let complete = partial.take_items(delta.as_text().unwrap_or_default());
                    (complete.into_iter().map(read).collect(), false)
                }
                Some(Err(error)) => (vec![Err(error)], true),
                None if partial.items_ended() => return None,
                None => {
                    let error = Error::new(ErrorKind::Parse, "expected a JSON array that is complete");
                    (vec![Err(error)], true)
                }
            };
            Some((stream::iter(read), (run, partial, ended)))
        })
        .flatten()
    })
}

fn read<T: DeserializeOwned>(item: serde_json::Value) -> Result<T> {
    serde_json::from_value(item).map_err(|error| {
        let message = format!("expected an item of {}: {error}", std::any::type_name::<T>());
        Error::new(ErrorKind::Parse, message).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use crate::model::fake::Fake;
    use crate::{ErrorKind, chain};

    #[tokio::test]
    async fn items_of_the_first_array_arrive_and_one_cut_off_is_an_error() {
        let answer = r#"Here: {"n": 3, "items": [1, 2, 3 ], "more": [4]}"#;
        let items = chain(Fake::echo()).items::<u8>();
        assert_eq!(items.clone().collect().invoke(answer).await.unwrap(), [1, 2, 3]);
        let read: Vec<_> = items.stream("[1, 2").collect().await;
        assert_eq!(*read[0].as_ref().unwrap(), 1);
        assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::Parse);
    }
}
