//! T28: Rust's client libraries over a real cluster: redis-rs, blocking and asynchronous, and fred. How each
//! begins is compared with a golden file.

use fred::prelude::*;
use fred::types::RespVersion;
use fred::types::config::{Config, ServerConfig};
use pointsman_integration::recorder::{MARKER, Recorder};
use pointsman_integration::{Cluster, Pointsman, Setup};
use redis::AsyncCommands;
use std::future::Future;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const BUMP: &str = "return redis.call('incrby', KEYS[1], ARGV[1])";

fn at_cluster(cluster: &Cluster) -> Pointsman {
    Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start()
}

/// Runs one asynchronous test, which must end in time.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("it ends in time") });
}

#[test]
fn t28_redis_rs_begins_as_its_golden_file_says() {
    let cluster = Cluster::shared();
    let pointsman = at_cluster(&cluster);
    for protocol in ["resp2", "resp3"] {
        let recorder = Recorder::start(pointsman.port());
        let url = format!("redis://127.0.0.1:{}/0?protocol={protocol}", recorder.port());
        let mut connection = redis::Client::open(url).unwrap().get_connection().expect("it connects");
        let nothing: Option<String> = redis::Commands::get(&mut connection, MARKER).unwrap();
        assert_eq!(nothing, None);
        recorder.judge_start_up(&format!("redis-rs-{protocol}"));
    }
}

#[test]
fn t28_redis_rs_works_asynchronously() {
    let cluster = Cluster::shared();
    let pointsman = at_cluster(&cluster);
    run(async {
        for protocol in ["resp2", "resp3"] {
            let recorder = Recorder::start(pointsman.port());
            let url = format!("redis://127.0.0.1:{}/0?protocol={protocol}", recorder.port());
            let client = redis::Client::open(url).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.expect("it connects");
            let nothing: Option<String> = connection.get(MARKER).await.unwrap();
            assert_eq!(nothing, None);
            recorder.judge_start_up(&format!("redis-rs-tokio-{protocol}"));

            let pairs: Vec<(String, usize)> = (0..200).map(|n| (format!("ra:{protocol}:{n}"), n)).collect();
            let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
            let _: () = connection.mset(&pairs).await.unwrap();
            let values: Vec<usize> = connection.mget(&keys).await.unwrap();
            assert_eq!(values, (0..200).collect::<Vec<_>>());
            let gone: usize = connection.del(&keys).await.unwrap();
            assert_eq!(gone, 200);

            let tag = format!("{{ra:{protocol}}}");
            let replies: (String, i64) = redis::pipe()
                .atomic()
                .set(format!("{tag}:m"), 1)
                .incr(format!("{tag}:m"), 1)
                .query_async(&mut connection)
                .await
                .unwrap();
            assert_eq!(replies, ("OK".to_owned(), 2));

            let script = redis::Script::new(BUMP);
            let key = format!("ra:{protocol}:script");
            let _: () = connection.del(&key).await.unwrap();
            let first: i64 = script.key(&key).arg(2).invoke_async(&mut connection).await.unwrap();
            let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
            let second: i64 = script.key(&key).arg(3).invoke_async(&mut connection).await.unwrap();
            assert_eq!((first, second), (2, 5));

            let queue = format!("ra:{protocol}:queue");
            let _: () = connection.del(&queue).await.unwrap();
            let mut waiting = client.get_multiplexed_async_connection().await.expect("it connects");
            let mut blpop = redis::cmd("BLPOP");
            blpop.arg(&queue).arg(10);
            let (popped, pushed): (redis::RedisResult<(String, String)>, redis::RedisResult<i64>) =
                tokio::join!(blpop.query_async(&mut waiting), connection.rpush(&queue, "job"),);
            // Asynchronous connections give up sooner than BLPOP unless they are told not to; this one is quick.
            assert_eq!((popped.unwrap(), pushed.unwrap()), ((queue, "job".to_owned()), 1));
        }
    });
}

#[test]
fn t28_fred_works() {
    let cluster = Cluster::shared();
    let pointsman = at_cluster(&cluster);
    run(async {
        for (name, version) in [("resp2", RespVersion::RESP2), ("resp3", RespVersion::RESP3)] {
            let recorder = Recorder::start(pointsman.port());
            let config = Config {
                server: ServerConfig::new_centralized("127.0.0.1", recorder.port()),
                version,
                ..Config::default()
            };
            let client = Builder::from_config(config).build().expect("the configuration is right");
            client.init().await.expect("it connects");
            let nothing: Option<String> = client.get(MARKER).await.unwrap();
            assert_eq!(nothing, None);
            recorder.judge_start_up(&format!("fred-{name}"));

            let keys: Vec<String> = (0..200).map(|n| format!("fr:{name}:{n}")).collect();
            let pairs: Vec<(String, i64)> = keys.iter().cloned().zip(0..).collect();
            let _: () = client.mset(pairs).await.unwrap();
            let values: Vec<i64> = client.mget(keys.clone()).await.unwrap();
            assert_eq!(values, (0..200).collect::<Vec<_>>());
            let gone: i64 = client.del(keys).await.unwrap();
            assert_eq!(gone, 200);

            let pipeline = client.pipeline();
            for n in 0..100_i64 {
                let key = format!("fr:{name}:p:{n}");
                let _: () = pipeline.set(&key, n, None, None, false).await.unwrap();
                let _: () = pipeline.get(&key).await.unwrap();
            }
            let replies: Vec<Value> = pipeline.all().await.unwrap();
            let got: Vec<i64> =
                replies.into_iter().skip(1).step_by(2).map(|value| value.convert().unwrap()).collect();
            assert_eq!(got, (0..100).collect::<Vec<_>>());

            let key = format!("{{fr:{name}}}:m");
            let transaction = client.multi();
            let _: () = transaction.set(&key, 1, None, None, false).await.unwrap();
            let _: () = transaction.incr(&key).await.unwrap();
            let replies: (String, i64) = transaction.exec(true).await.unwrap();
            assert_eq!(replies, ("OK".to_owned(), 2));

            let queue = format!("fr:{name}:queue");
            let _: () = client.del(&queue).await.unwrap();
            let waiting = client.clone_new();
            waiting.init().await.expect("it connects");
            let (popped, pushed) = tokio::join!(
                waiting.blpop::<(String, String), _>(&queue, 10.0),
                client.rpush::<i64, _, _>(&queue, "job")
            );
            assert_eq!((popped.unwrap(), pushed.unwrap()), ((queue, "job".to_owned()), 1));

            let subscriber = client.clone_new();
            subscriber.init().await.expect("it connects");
            let mut messages = subscriber.message_rx();
            let channel = format!("fr:{name}:channel");
            let _: () = subscriber.subscribe(&channel).await.unwrap();
            // Its subscribe() ends before the answer is there.
            while client.publish::<i64, _, _>(&channel, "hello").await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let message = messages.recv().await.expect("it is there");
            assert_eq!(message.value.convert::<String>().unwrap(), "hello");

            let _: () = client.set(format!("fr:{name}:text"), "x", None, None, false).await.unwrap();
            let error = client.incr::<i64, _>(format!("fr:{name}:text")).await.unwrap_err();
            assert!(error.details().contains("not an integer"), "{error}");
            for one in [client, waiting, subscriber] {
                one.quit().await.expect("it ends");
            }
        }
    });
}
