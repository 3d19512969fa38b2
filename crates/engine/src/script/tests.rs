//! Scripts as nodes run them, with this machine's shell.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::item::{Content, digest};
use crate::stacks::Barrier;

/// What a script writes to its standard output and its standard error.
pub(crate) fn shell(script: &str) -> (String, String) {
    let mut shell = Command::new("/bin/sh")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = shell.stdin.take().expect("its input");
    input.write_all(script.as_bytes()).expect("it reads");
    drop(input);
    let output = shell.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

/// The scripts are real shell, so they are run by the real shell, on a folder that stands for a node.
struct Node {
    root: tempfile::TempDir,
    owner: String,
}

impl Node {
    fn new() -> Self {
        let name = |flag| {
            let output = Command::new("id").arg(flag).output().expect("id runs");
            String::from_utf8(output.stdout).expect("a name").trim().to_owned()
        };
        Self {
            root: tempfile::tempdir().expect("a folder"),
            owner: format!("{}:{}", name("-un"), name("-gn")),
        }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> Item {
        Item::file_of(&self.path(name), 0o640, &self.owner, Content::Text(text.into()))
    }

    fn run(&self, script: &str) -> (String, String) {
        let script = script.replace("/var/lib/clusterbook", &self.path("state"));
        shell(&script)
    }

    fn look(&self, items: &[Item]) -> Facts {
        let (output, said) = self.run(&observe(items));
        read_facts(items, &output).unwrap_or_else(|| panic!("broke off: {said}"))
    }

    fn change(&self, number: u64, steps: &[Step]) -> Result<Vec<StepOutcome>, Refused> {
        let (output, said) = self.run(&apply("0123456789ab", number, steps));
        read_outcomes(steps.len(), &output, &said)
    }
}

fn fresh(items: &[Item]) -> Vec<Step> {
    items.iter().map(|item| Step::blind(item.clone())).collect()
}

fn seen(items: &[Item], facts: &Facts) -> Vec<Step> {
    items
        .iter()
        .map(|item| Step {
            item: item.clone(),
            expected: facts.get(&item.key).cloned(),
            stale: false,
        })
        .collect()
}

#[test]
fn what_was_applied_is_what_is_then_found() {
    let node = Node::new();
    let items = [
        Item::directory(&node.path("deep/folder"), 0o750, &node.owner),
        node.file("deep/folder/plain", "one\ntwo $HOME `id` \\ 'quoted'\n"),
        node.file("no newline at the end", "x"),
        node.file("empty", ""),
        node.file("日本語", "計算機\n"),
        node.file("tricky", "end-of-file-7c1d\n"),
        Item::link(&node.path("deep/link"), "../elsewhere"),
    ];
    assert!(node.look(&items).values().all(|found| found == ABSENT));
    assert_eq!(node.change(1, &fresh(&items)), Ok(vec![StepOutcome::Done; items.len()]));
    let facts = node.look(&items);
    for item in &items {
        assert_eq!(facts[&item.key], item.want, "{}", item.key);
    }
    assert_eq!(
        fs_err::read_to_string(node.path("deep/folder/plain")).expect("it is there"),
        "one\ntwo $HOME `id` \\ 'quoted'\n"
    );
}

#[test]
fn what_changed_since_the_plan_is_reported_and_left_alone() {
    let node = Node::new();
    let first = [node.file("conf", "a\n"), node.file("other", "b\n")];
    node.change(1, &fresh(&first)).expect("it is carried out");
    let facts = node.look(&first);
    let wanted = [node.file("conf", "new\n"), node.file("other", "new\n")];
    fs_err::write(node.path("conf"), "a person's own\n").expect("it is written");
    let outcomes = node.change(2, &seen(&wanted, &facts)).expect("it is carried out");
    assert!(matches!(&outcomes[0], StepOutcome::Drift { found } if *found != facts[&first[0].key]));
    assert_eq!(outcomes[1], StepOutcome::Done);
    assert_eq!(
        fs_err::read_to_string(node.path("conf")).expect("it is there"),
        "a person's own\n"
    );
}

#[test]
fn a_failure_ends_the_script_and_says_why() {
    let node = Node::new();
    fs_err::write(node.path("in the way"), "").expect("it is written");
    let items = [
        node.file("before", "x\n"),
        node.file("in the way/file", "x\n"),
        node.file("after", "x\n"),
    ];
    let outcomes = node.change(1, &fresh(&items)).expect("it is carried out");
    assert_eq!(outcomes[0], StepOutcome::Done);
    assert!(
        matches!(&outcomes[1], StepOutcome::Failed(why) if why.contains("in the way")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2], StepOutcome::NotReached);
}

#[test]
fn an_older_apply_is_refused_and_changes_nothing() {
    let node = Node::new();
    node.change(7, &fresh(&[node.file("conf", "seven\n")]))
        .expect("the newer one");
    let older = node.change(6, &fresh(&[node.file("conf", "six\n")]));
    assert_eq!(older, Err(Refused::Fence(7)));
    assert_eq!(
        fs_err::read_to_string(node.path("conf")).expect("it is there"),
        "seven\n"
    );
    node.change(7, &fresh(&[node.file("conf", "again\n")]))
        .expect("the same one");
}

#[test]
fn half_a_script_does_nothing() {
    let node = Node::new();
    let script = apply(
        "0123456789ab",
        1,
        &fresh(&[node.file("conf", "x\n"), node.file("conf2", "y\n")]),
    );
    node.run(&script[..script.len() - "change </dev/null\n".len() - 2]);
    assert!(!fs_err::exists(node.path("conf")).expect("it can be looked at"));
    assert_eq!(read_facts(&[], "@managed\n"), None, "a look that broke off is no look");
}

fn edited(node: &Node, name: &str, content: &str) -> Item {
    let file = clusterbook_model::EditedFile {
        path: node.path(name),
        nodes: vec!["all".to_owned()],
        mode: "0750".to_owned(),
        owner: node.owner.clone(),
        reload: Vec::new(),
        restart: Vec::new(),
        content: content.to_owned(),
    };
    Item::edited(&file, Vec::new())
}

#[test]
fn what_was_there_before_the_first_edit_is_put_back() {
    let node = Node::new();
    let (old, new) = (node.path("old.conf"), node.path("deep/new.conf"));
    fs_err::write(&old, "from the package\n").expect("a file");
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::metadata(path).expect("a file").permissions().mode() & 0o777
    };
    let before = mode(&old);
    let items = |content: &str| {
        [
            edited(&node, "old.conf", content),
            edited(&node, "deep/new.conf", content),
        ]
    };
    for content in ["one\n", "two\n"] {
        let (said, trouble) = node.run(&apply("0123456789ab", 1, &fresh(&items(content))));
        let outcomes = read_outcomes(2, &said, &trouble).expect("it is not refused");
        assert_eq!(outcomes, [StepOutcome::Done, StepOutcome::Done], "{trouble}");
        assert_eq!(fs_err::read_to_string(&old).expect("a file"), content);
        assert_eq!(mode(&new), 0o750);
    }
    let (said, _) = node.run(&observe(&items("two\n")));
    let facts = read_facts(&items("two\n"), &said).expect("a whole look");
    assert!(
        items("two\n").iter().all(|item| facts[&item.key] == item.want),
        "{facts:?}"
    );

    // A look that asks for none of them still tells that they are edited.
    let (said, _) = node.run(&observe(&[]));
    let facts = read_facts(&[], &said).expect("a whole look");
    let keys: Vec<&str> = facts.keys().map(String::as_str).collect();
    assert_eq!(keys, [format!("edit:{new}"), format!("edit:{old}")]);

    let back = [Item::not_edited(&old), Item::not_edited(&new)];
    let steps: Vec<Step> = back
        .iter()
        .map(|item| Step {
            item: item.clone(),
            expected: Some(EDITED.to_owned()),
            stale: false,
        })
        .collect();
    let (said, trouble) = node.run(&apply("0123456789ab", 2, &steps));
    let outcomes = read_outcomes(2, &said, &trouble).expect("it is not refused");
    assert_eq!(outcomes, [StepOutcome::Done, StepOutcome::Done], "{trouble}");
    assert_eq!(fs_err::read_to_string(&old).expect("a file"), "from the package\n");
    assert_eq!(mode(&old), before);
    assert!(!fs_err::exists(&new).expect("it can be looked at"));
    let (said, _) = node.run(&observe(&[]));
    assert!(read_facts(&[], &said).expect("a whole look").is_empty());
}

#[test]
fn a_folder_is_not_replaced_by_a_file() {
    let node = Node::new();
    fs_err::create_dir(node.path("conf")).expect("a folder");
    let (said, trouble) = node.run(&apply("0123456789ab", 1, &fresh(&[edited(&node, "conf", "x\n")])));
    let outcomes = read_outcomes(1, &said, &trouble).expect("it is not refused");
    assert!(
        matches!(&outcomes[0], StepOutcome::Failed(said) if said.contains("is a folder")),
        "{outcomes:?}"
    );
}

#[test]
fn a_controllers_configuration_is_tried_before_anything_else_is_done() {
    let conf = Item::file("/etc/slurm/slurm.conf", 0o644, "SchedulerTyp=x\n");
    let daemon = Item::service("slurmctld", Refresh::ScontrolReconfigure, &[&conf]).tried(Trial::Slurmctld);
    let steps = |expected: Option<&str>| {
        [
            Step {
                item: conf.clone(),
                expected: expected.map(str::to_owned),
                stale: false,
            },
            Step {
                item: daemon.clone(),
                expected: None,
                stale: expected.is_some(),
            },
        ]
    };
    let script = apply("0123456789ab", 1, &steps(Some("644 root:root sum")));
    let place = |text: &str| script.rfind(text).unwrap_or_else(|| panic!("{text} is not there"));
    assert!(place("trial_slurmctld || finish 0 1") < place("stamp/slurmctld"));
    assert!(place("trial_put slurm.conf") < place("put /etc/slurm/slurm.conf"));
    // A new node has nothing that could be spared.
    assert!(!apply("0123456789ab", 1, &steps(None)).contains("trial_put slurm.conf"));
}

#[test]
fn daemons_accounts_and_mounts_are_read_from_what_systems_print() {
    let items = [
        Item::service("munge", Refresh::Restart, &[]),
        Item::service("slurmd", Refresh::Restart, &[]),
        Item::account("taro", 2001, "/home/taro"),
        Item::mount("/home"),
        Item::slurm_node("c1", None),
        Item::slurm_node("c2", None),
        Item::slurm_node("c3", None),
        Item::slurm_node("c4", None),
        Item::slurm_node("g1", None),
        Item::mount_unit(
            "data\\x2d1.mount",
            "/data-1",
            &Item::file("/etc/systemd/system/x", 0o644, ""),
        ),
    ];
    let output = "@user\ntaro:x:2001:2001:clusterbook:/home/taro:/bin/bash\n@managed\n\
        taro:x:2001:2001:clusterbook:/home/taro:/bin/bash\nhanako:x:2002:2002:clusterbook:/home/hanako:/bin/bash\n\
        @unit\nNames=munge.service\nActiveState=active\n\nActiveState=activating\nNames=slurmd-alias.service slurmd.service\n\
        \nNames=data\\x2d1.mount\nActiveState=active\n@stamp\nmunge 0123\ndata\\x2d1.mount 4567\n@mount\n/dev/vda /home ext4 rw 0 0\n\
        @slurm\nc1|idle|none\nc2|down*|Not responding\nc3|drained|disk\n\
        g1|drained|gres/gpu count reported lower than configured (0 < 2)\n@end\n";
    let facts = read_facts(&items, output).expect("a whole look");
    let found = |item: &Item| facts[&item.key].as_str();
    assert_eq!(found(&items[0]), "active 0123");
    assert_eq!(found(&items[1]), "activating none");
    assert_eq!(found(&items[2]), items[2].want);
    assert_eq!(found(&items[3]), "mounted");
    assert_eq!(found(&items[4]), "up");
    assert_eq!(found(&items[5]), "down*");
    assert_eq!(found(&items[6]), "up", "what a person drained is left alone");
    assert_eq!(found(&items[7]), ABSENT);
    assert_eq!(found(&items[8]), "drained", "what Slurm drained by itself is not");
    assert_eq!(found(&items[9]), "active 4567");
    assert!(
        facts.contains_key("user:hanako"),
        "an account of ours that left the design is seen"
    );
}

/// An account between two files, on a node that has these users and groups. Whatever would change either only writes down what it was told.
fn account_on(node: &Node, expected: Option<&str>, passwd: &str, group: &str) -> (Vec<StepOutcome>, String) {
    let told = node.path("told");
    fs_err::write(&told, "").expect("it is written");
    let mut steps = fresh(&[
        node.file("before", "x\n"),
        Item::account("taro", 2001, "/home/taro"),
        node.file("after", "x\n"),
    ]);
    steps[1].expected = expected.map(str::to_owned);
    let found = |line: &str| {
        if line.is_empty() {
            "return 2".to_owned()
        } else {
            format!("echo {line}")
        }
    };
    let mut pretended = format!(
        "getent() {{ case \"$*\" in 'passwd taro') {} ;; 'group taro') {} ;; *) return 2 ;; esac; }}\n",
        found(passwd),
        found(group)
    );
    for program in ["useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel"] {
        pretended.push_str(&format!("{program}() {{ echo {program} \"$*\" >>{told}; }}\n"));
    }
    let script = apply("0123456789ab", 1, &steps).replacen("change() {", &format!("{pretended}change() {{"), 1);
    let (output, said) = node.run(&script);
    let outcomes = read_outcomes(steps.len(), &output, &said).expect("it is not refused");
    (outcomes, fs_err::read_to_string(&told).expect("what was told"))
}

#[test]
fn an_account_is_made_with_its_group() {
    for (passwd, group, wanted) in [
        ("", "", "groupadd -g 2001 taro\nuseradd "),
        ("", "taro:x:2001:", "useradd "),
        (
            "taro:x:2001:2001::/home/taro:/bin/sh",
            "taro:x:2001:",
            "usermod -c clusterbook -g 2001 ",
        ),
    ] {
        let (outcomes, told) = account_on(&Node::new(), None, passwd, group);
        assert_eq!(outcomes, vec![StepOutcome::Done; 3], "{passwd} {group}");
        assert!(
            told.starts_with(wanted) && told.ends_with(" -s /bin/bash taro\n"),
            "{told}"
        );
    }
}

#[test]
fn a_name_that_belongs_to_another_number_is_not_taken_over() {
    for (passwd, group, why) in [
        (
            "taro:x:1500:1500::/home/taro:/bin/bash",
            "taro:x:1500:",
            "account taro exists with uid 1500, not 2001; rename or remove it on this node, or write its number in the design",
        ),
        (
            "",
            "taro:x:1500:",
            "group taro exists with gid 1500, not 2001; rename or remove it on this node, or write its number in the design",
        ),
    ] {
        let node = Node::new();
        let (outcomes, told) = account_on(&node, None, passwd, group);
        // What comes after it on this node may need the account.
        assert_eq!(
            outcomes,
            [
                StepOutcome::Done,
                StepOutcome::Failed(why.to_owned()),
                StepOutcome::NotReached
            ]
        );
        assert_eq!(told, "", "nothing is made or changed");
    }
}

#[test]
fn a_name_that_was_taken_since_the_plan_is_left_alone_and_the_rest_goes_on() {
    let node = Node::new();
    let theirs = "taro:x:1500:1500::/home/taro:/bin/bash";
    let (outcomes, told) = account_on(&node, Some(ABSENT), theirs, "taro:x:1500:");
    let found = "1500:1500:/home/taro:/bin/bash".to_owned();
    assert_eq!(
        outcomes,
        [StepOutcome::Done, StepOutcome::Drift { found }, StepOutcome::Done]
    );
    assert_eq!(told, "");
    assert!(fs_err::exists(node.path("after")).expect("it can be looked at"));
}

/// Programs that keep groups in a file, as the system's own do.
fn group_file(node: &Node) -> String {
    let file = node.path("group");
    format!(
        r#"
getent() {{
    [ "$1" = group ] || return 2
    shift
    missing=0
    for name; do grep "^$name:" {file} || missing=2; done
    return $missing
}}
groupadd() {{ ! grep -q ":$2:" {file} || {{ echo "GID $2 is taken" >&2; return 4; }}; echo "$3:x:$2:" >>{file}; }}
groupdel() {{ sed -i "/^$1:/d" {file}; }}
gpasswd() {{
    members=$(getent group "$3" | cut -d: -f4 | tr , '\n' | grep -vx "$2")
    [ "$1" = -d ] || members=$(printf '%s\n%s' "$2" "$members")
    sed -i "s/^\($3:.*:\).*/\1$(printf '%s\n' "$members" | grep . | paste -sd, -)/" {file}
}}
id() {{ grep "[:,]$2\(,\|\$\)" {file} | cut -d: -f1 | paste -sd' ' -; }}
"#
    )
}

#[test]
fn groups_have_the_members_that_the_design_says_and_go_with_it() {
    let node = Node::new();
    let group = |gid, names: [&str; 2]| {
        let users: Vec<_> = names
            .into_iter()
            .filter(|name| !name.is_empty())
            .map(|name| serde_json::json!({"name": name, "groups": ["lab"]}))
            .collect();
        let design = clusterbook_model::Design::from_parameters(&serde_json::json!({
            "name": "demo", "unix_groups": [{"name": "lab", "gid": gid}], "users": users,
        }))
        .expect("a design");
        Item::unix_group(&design.unix_groups[0], &design.users)
    };
    fs_err::write(node.path("group"), "wheel:x:10:root\nold:x:3009:\n").expect("it is written");
    let look = |items: &[Item]| {
        let script = observe(items).replacen("look() {", &format!("{}look() {{", group_file(&node)), 1);
        let (output, said) = node.run(&script);
        read_facts(items, &output).unwrap_or_else(|| panic!("broke off: {said}"))
    };
    let change = |number, steps: &[Step]| {
        let script = apply("0123456789ab", number, steps);
        let (output, said) = node.run(&script.replacen("change() {", &format!("{}change() {{", group_file(&node)), 1));
        read_outcomes(steps.len(), &output, &said).expect("it is not refused")
    };
    assert!(look(&[]).is_empty(), "groups of others are nobody's business");

    for (number, names) in [(1, ["taro", "hana"]), (2, ["jiro", "hana"]), (3, ["", ""])] {
        let item = group(3001, names);
        let items = [item.clone()];
        assert_ne!(look(&items)[&item.key], item.want);
        let steps = seen(&items, &look(&items));
        assert_eq!(change(number, &steps), [StepOutcome::Done], "{names:?}");
        assert_eq!(look(&items)[&item.key], item.want, "{names:?}");
    }
    // Another number is never given to a group that is there, nor one that another group has.
    let other = group(3002, ["taro", ""]);
    assert!(
        matches!(&change(4, &fresh(&[other]))[0], StepOutcome::Failed(said) if said.contains("gid 3001, not 3002"))
    );
    let taken = Item::unix_group(
        &clusterbook_model::UnixGroup {
            name: "new".to_owned(),
            gid: 3009,
        },
        &[],
    );
    assert!(matches!(&change(5, &fresh(&[taken]))[0], StepOutcome::Failed(said) if said.contains("3009 is taken")));

    let facts = look(&[]);
    assert_eq!(
        facts.keys().collect::<Vec<_>>(),
        ["unix-group:lab"],
        "what is ours is found without a design"
    );
    assert_eq!(
        change(6, &seen(&[Item::no_unix_group("lab")], &facts)),
        [StepOutcome::Done]
    );
    assert!(look(&[]).is_empty());
    assert_eq!(
        fs_err::read_to_string(node.path("group")).expect("it is there"),
        "wheel:x:10:root\nold:x:3009:\n"
    );
}

fn an_account(limits: &str) -> (clusterbook_model::Design, Vec<Item>) {
    let parameters = serde_json::json!({
        "name": "demo",
        "accounting": {"accounts": [{"name": "lab", "fairshare": 2, "limits": {"MaxJobs": 3}}, {"name": "guests"}]},
        "users": [{"name": "taro", "accounts": ["lab", "guests"], "limits": {"MaxTRESPerJob": limits}}],
    });
    let design = clusterbook_model::Design::from_parameters(&parameters).expect("a design");
    let accounting = &design.accounting;
    let user = &design.users[0];
    let held: Vec<_> = accounting
        .accounts_of(user)
        .into_iter()
        .map(|name| (name, user.limits.below(&accounting.limits_of(name))))
        .collect();
    let items = vec![
        Item::slurm_account(&accounting.accounts[0], &accounting.limits_of("lab")),
        Item::slurm_user(user, &held),
        Item::no_slurm_user("hanako"),
    ];
    (design, items)
}

#[test]
fn accounts_are_read_from_what_sacctmgr_prints() {
    let (_, items) = an_account("cpu=4");
    let output = "@managed\n@association\nroot|||1||||||||||||\nroot|root||1||||||||||||\n\
        lab||root|2|||||||3|||||\nlab|taro||1|||||||3||cpu=4|||\nguests||root|1||||||||||||\nguests|taro||1|||||||||cpu=4|||\n\
        guests|hanako||1||||||||||||\nold||root|1||||||||||||\ntheirs||root|1||||||||||||\ntheirs|ichiro||1||||||||||||\n\
        @account\nroot|root\nlab|clusterbook\nguests|clusterbook\nold|clusterbook\ntheirs|the centre\n\
        @slurm-user\nroot|root\ntaro|lab\nhanako|guests\nichiro|theirs\n@end\n";
    let facts = read_facts(&items, output).expect("a whole look");
    assert_eq!(facts[&items[0].key], items[0].want);
    assert_eq!(facts[&items[1].key], items[1].want);
    assert_ne!(facts[&items[2].key], ABSENT, "somebody who must go");
    assert!(
        facts.contains_key("slurm-account:old"),
        "an account of ours that left the design"
    );
    assert!(
        !facts.contains_key("slurm-account:theirs") && !facts.contains_key("slurm-user:ichiro"),
        "an administrator's own accounts are nobody's business here"
    );
    assert!(!facts.contains_key("slurm-user:root"), "root stays");
    let (_, others) = an_account("cpu=8");
    assert_ne!(others[1].want, items[1].want);
    // Slurm without a database, or one that doesn't answer, has none of them.
    let empty = read_facts(&items, "@managed\n@association\n@account\n@slurm-user\n@end\n").expect("a whole look");
    assert!(empty.values().all(|found| found == ABSENT));
}

/// The functions are run by a real shell, with a `sacctmgr` that keeps nothing and writes down what it was told.
#[test]
fn accounts_are_brought_about_by_sacctmgr() {
    let node = Node::new();
    let log = node.path("told");
    let (_, items) = an_account("cpu=4");
    let pretended = format!(
        "sacctmgr() {{ case \"$*\" in *show*account=root*) echo root ;; *show*tres*) echo 'gres|gpu' ;; *show*) ;; \
         *) echo \"$*\" >>{log} ;; esac; }}\nscancel() {{ :; }}\nchange() {{"
    );
    let script = apply("0123456789ab", 1, &fresh(&items)).replacen("change() {", &pretended, 1);
    let (output, said) = node.run(&script);
    assert_eq!(
        read_outcomes(items.len(), &output, &said),
        Ok(vec![StepOutcome::Done; 3]),
        "{said}"
    );
    let told = fs_err::read_to_string(&log).expect("it was told something");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "-Qi add account lab parent=root organization=clusterbook description=lab"
    );
    assert!(lines[1].starts_with("-Qi modify account where name=lab set organization=clusterbook fairshare=2"));
    assert!(lines[1].contains(" MaxJobs=3 "), "{told}");
    assert!(
        lines[1].contains(" GrpTRES=billing=-1,cpu=-1,mem=-1,node=-1,gres/gpu=-1 "),
        "limits on GPUs are lifted where there are any: {told}"
    );
    assert_eq!(lines[2], "-Qi add user taro account=lab defaultaccount=lab");
    assert_eq!(lines[3], "-Qi add user taro account=guests defaultaccount=lab");
    assert!(lines[4].starts_with("-Qi modify user where name=taro set defaultaccount=lab fairshare=1 "));
    assert!(
        lines[4].contains(" MaxTRESPerJob=billing=-1,cpu=4,mem=-1,node=-1,gres/gpu=-1 "),
        "{told}"
    );
    assert_eq!(lines.len(), 5, "nobody is there who must go: {told}");
}

#[test]
fn a_daemon_reads_again_what_was_edited_behind_its_back() {
    let conf = Item::file("/etc/slurm/slurm.conf", 0o644, "ReturnToService=2\n");
    let daemon = Item::service("slurmctld", Refresh::ScontrolReconfigure, &[&conf]);
    let mut facts = Facts::from([
        (conf.key.clone(), "644 root:root somebody's".to_owned()),
        (daemon.key.clone(), daemon.want.clone()),
    ]);
    let wanted = || {
        vec![
            ("controller", Barrier::Nothing, conf.clone()),
            ("controller", Barrier::Nothing, daemon.clone()),
        ]
    };
    let differences = crate::observe::differences(wanted(), &facts);
    let steps: Vec<Step> = differences.into_iter().map(|difference| difference.step).collect();
    assert_eq!(steps.len(), 2, "the file, and the daemon that may have read it");
    let script = apply("0123456789ab", 1, &steps);
    let forgets = script.find("rm -f \"$state\"/stamp/slurmctld").expect("its stamp goes");
    assert!(
        forgets < script.find("put /etc/slurm/slurm.conf").expect("the file is put"),
        "first of all"
    );
    facts.insert(conf.key.clone(), conf.want.clone());
    assert!(crate::observe::differences(wanted(), &facts).is_empty());
}

#[test]
fn a_daemon_on_its_way_is_not_held_to_where_it_was_seen() {
    let daemon = Item::service("slurmd", Refresh::Restart, &[]);
    let mount = Item::mount_unit(
        "data.mount",
        "/data",
        &Item::file("/etc/systemd/system/data.mount", 0o644, "[Mount]\n"),
    );
    for (item, state, held) in [
        (&daemon, "active", true),
        (&daemon, "failed", true),
        (&daemon, "inactive", true),
        (&daemon, "activating", false),
        (&daemon, "reloading", false),
        (&mount, "failed", true),
        (&mount, "deactivating", false),
    ] {
        let found = format!("{state} none");
        let wanted = vec![("workers", Barrier::Controller, item.clone())];
        let differences = crate::observe::differences(wanted, &Facts::from([(item.key.clone(), found.clone())]));
        let expected = held.then_some(found);
        assert_eq!(differences[0].step.expected, expected, "{state}");
        let script = apply("0123456789ab", 1, &[differences[0].step.clone()]);
        assert_eq!(script.contains("if expect 0"), held, "{state}");
    }
}

#[test]
fn a_daemon_is_refreshed_when_anything_that_it_reads_changes() {
    let service = |text: &str| Item::service("munge", Refresh::Restart, &[&Item::file("/etc/key", 0o400, text)]).want;
    assert_ne!(service("a"), service("b"));
    assert_eq!(service("a"), service("a"));
    assert_ne!(
        digest(["ab", "c"]),
        digest(["a", "bc"]),
        "parts don't run into each other"
    );
}
