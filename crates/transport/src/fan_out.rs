//! The same work on many machines at once.

use std::future::Future;

use futures::StreamExt;

/// Calls `f` for every item, at most `limit` at once, and returns all results in the order of the items.
///
/// One failure never hides another and never stops the others: each item comes back with its own result. A free
/// place is taken by the next item at once, so one slow machine costs one place and no more. A `limit` of 0 counts as 1.
///
/// The futures share the calling task. Cancellation is the business of `f`, which usually holds a token.
pub async fn fan_out<K, T, E, F, Fut>(items: impl IntoIterator<Item = K>, limit: usize, f: F) -> Vec<(K, Result<T, E>)>
where
    K: Clone,
    F: Fn(K) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let f = &f;
    let work = futures::stream::iter(items.into_iter().enumerate()).map(|(index, item)| async move {
        let result = f(item.clone()).await;
        (index, item, result)
    });
    let mut done: Vec<_> = work.buffer_unordered(limit.max(1)).collect().await;
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter().map(|(_, item, result)| (item, result)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::fan_out;

    #[tokio::test]
    async fn order_is_kept_and_no_failure_is_lost() {
        let results = fan_out(0..20u32, 4, |n| async move {
            // The earlier an item, the later it ends.
            for _ in 0..(20 - n) {
                tokio::task::yield_now().await;
            }
            if n % 3 == 0 {
                Err(format!("{n} failed"))
            } else {
                Ok(n * 2)
            }
        })
        .await;
        assert_eq!(
            results.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
        assert_eq!(results.iter().filter(|(_, r)| r.is_err()).count(), 7);
        assert_eq!(results[4].1, Ok(8));
        assert_eq!(results[3].1, Err("3 failed".to_owned()));
    }

    #[tokio::test]
    async fn the_limit_holds_and_is_used() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = fan_out(0..50, 7, |_| async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<(), ()>(())
        })
        .await;
        assert_eq!(results.len(), 50);
        assert_eq!(most.load(Ordering::SeqCst), 7);
    }

    #[tokio::test]
    async fn a_slow_first_item_does_not_block_the_others() {
        let finished = AtomicUsize::new(0);
        fan_out(0..10, 2, |n| {
            let finished = &finished;
            async move {
                while n == 0 && finished.load(Ordering::SeqCst) < 9 {
                    tokio::task::yield_now().await;
                }
                finished.fetch_add(1, Ordering::SeqCst);
                Ok::<(), ()>(())
            }
        })
        .await;
        assert_eq!(finished.load(Ordering::SeqCst), 10);
    }

    #[tokio::test]
    async fn a_limit_of_zero_still_works() {
        assert_eq!(
            fan_out([1, 2], 0, |n| async move { Ok::<_, ()>(n) }).await,
            vec![(1, Ok(1)), (2, Ok(2))]
        );
    }
}
