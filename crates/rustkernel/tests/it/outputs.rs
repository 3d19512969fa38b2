//! What cells show.

use serde_json::json;

use crate::client::{Client, Transport};

#[tokio::test]
async fn results_variables_and_definitions_last() {
    let mut client = Client::start_with(&Transport::Tcp, &[]).await;
    let first = client.run("let mut total = 40; total + 2").await.fine();
    assert_eq!(first.plain(), "42");
    assert_eq!(first.reply["execution_count"], 1);
    assert_eq!(first.input["code"], "let mut total = 40; total + 2");
    client
        .run("fn twice(number: i32) -> i32 { number * 2 }\ntotal += 10;")
        .await
        .fine();
    let later = client
        .run("use std::collections::BTreeMap;\nlet map: BTreeMap<_, _> = [(twice(total), \"計算\")].into();\nmap")
        .await
        .fine();
    assert_eq!(later.plain(), "{100: \"計算\"}");
    assert_eq!(later.reply["execution_count"], 3);
    let nothing = client.run("let _quiet = 1;").await.fine();
    assert!(nothing.results.is_empty() && nothing.streams.is_empty(), "{nothing:?}");
    let types = client.run(":vars").await.fine();
    assert!(types.plain().contains("total: i32"), "{}", types.plain());

    let completed = client
        .shell_request("complete_request", json!({"code": "\"計\"; twi", "cursor_pos": 8}))
        .await;
    assert!(completed["matches"].to_string().contains("twice"), "{completed}");
    assert_eq!(
        (&completed["cursor_start"], &completed["cursor_end"]),
        (&json!(5), &json!(8))
    );
    let described = client
        .shell_request("inspect_request", json!({"code": "twice", "cursor_pos": 5}))
        .await;
    assert_eq!(described["found"], true, "{described}");
    let info = client.shell_request("kernel_info_request", json!({})).await;
    assert_eq!(info["language_info"]["file_extension"], ".rs");
    client.shut_down().await;
}

#[tokio::test]
async fn what_is_printed_arrives_as_it_is_printed() {
    let mut client = Client::start().await;
    let both = client
        .run("for number in 0..3 { println!(\"out {number}\"); eprintln!(\"error {number}\"); }")
        .await
        .fine();
    assert_eq!(both.text("stdout"), "out 0\nout 1\nout 2\n");
    assert_eq!(both.text("stderr"), "error 0\nerror 1\nerror 2\n");

    // The cell waits for the second file, which is made when its first words have come.
    let go_on = client.folder.path().join("go-on");
    let code = format!(
        "use std::io::Write;\nprint!(\"no line end yet\");\nstd::io::stdout().flush().unwrap();\n\
         while !std::path::Path::new({go_on:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(5)); }}\n\
         print!(\", and none at the end 計\");\nstd::io::stdout().flush().unwrap();"
    );
    let id = client.begin(&code).await;
    let early = client.finish(&id, |cell| cell.text("stdout").contains("yet")).await;
    assert_eq!(early.text("stdout"), "no line end yet");
    assert!(early.reply.is_null());
    std::fs::write(&go_on, "").unwrap();
    let late = client.finish(&id, |_| false).await.fine();
    assert_eq!(late.text("stdout"), ", and none at the end 計");

    let raw = client
        .run("use std::io::Write;\nstd::io::stdout().write_all(b\"a\\xffb\\n\").unwrap();")
        .await
        .fine();
    assert_eq!(raw.text("stdout"), "a\u{fffd}b\n");
    let flood = client
        .run("for number in 0..100_000 { println!(\"{number}\"); }\neprint!(\"after\");\n7")
        .await
        .fine();
    assert_eq!(flood.text("stdout").lines().count(), 100_000);
    assert_eq!(flood.text("stderr"), "after");
    assert_eq!(flood.plain(), "7");
    client.shut_down().await;
}

#[tokio::test]
async fn a_cell_may_show_other_kinds_of_content() {
    let mut client = Client::start().await;
    let shown = client
        .run(
            "struct Picture;\nimpl Picture {\n    fn evcxr_display(&self) {\n        \
             println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>計</b>\\n<i>2</i>\\nEVCXR_END_CONTENT\");\n        \
             println!(\"EVCXR_BEGIN_CONTENT text/plain\\npicture\\nEVCXR_END_CONTENT\");\n    }\n}\nPicture",
        )
        .await
        .fine();
    assert_eq!(
        shown.results,
        [json!({"text/html": "<b>計</b>\n<i>2</i>", "text/plain": "picture"})]
    );
    assert!(shown.streams.is_empty(), "{:?}", shown.streams);
    let data = client
        .run(
            "println!(\"before\\nEVCXR_BEGIN_CONTENT application/vnd.tmplrun.result+json\\n{{\\\"gflops\\\": 1.5}}\\nEVCXR_END_CONTENT\\nafter\");",
        )
        .await
        .fine();
    assert_eq!(
        data.results,
        [json!({"application/vnd.tmplrun.result+json": {"gflops": 1.5}})]
    );
    assert_eq!(data.text("stdout"), "before\nafter\n");
    client.shut_down().await;
}
