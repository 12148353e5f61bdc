//! Runs every script under `cases/` against one server. `BLESS=1` writes what the server answers into the scripts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{Runner, default_column_validator, default_normalizer, default_validator};
use sqllogictests::Connection;
use tests::{Options, Server};

fn main() {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime can be made"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Arc::new(runtime.block_on(Server::start(&folder.path().join("data"), &Options::default())));
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let trials = scripts(&cases).into_iter().map(|script| {
        let name = script.strip_prefix(&cases).expect("it lies there").with_extension("").display().to_string();
        let (server, runtime) = (server.clone(), runtime.clone());
        Trial::test(name.clone(), move || runtime.block_on(run(&server, &script, &name)))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // The exit below runs no destructors: the server must be stopped first.
    drop(server);
    drop(folder);
    conclusion.exit();
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("cases are there") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

async fn run(server: &Arc<Server>, script: &Path, name: &str) -> Result<(), Failed> {
    let database = format!("slt_{}", name.replace(['/', '-', '.'], "_"));
    let admin = server.connect("postgres").await;
    // Old dates are wanted in the scripts, so KEEP is long.
    let create = format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} KEEP 36500 VGROUPS 2");
    admin.batch_execute(&create).await.map_err(|error| format!("{error:?}\n{}", server.log()))?;
    let (kept, of) = (server.clone(), database.clone());
    let mut runner = Runner::new(move || {
        let (server, database) = (kept.clone(), of.clone());
        async move { Ok(Connection::new(server.connect(&database).await)) }
    });
    runner.set_var("DATABASE".to_owned(), database.clone());
    let result = if std::env::var_os("BLESS").is_some() {
        let done =
            runner.update_test_file(script, " ", default_validator, default_normalizer, default_column_validator).await;
        done.map_err(|error| Failed::from(error.to_string()))
    } else {
        runner.run_file_async(script).await.map_err(|error| Failed::from(error.display(false).to_string()))
    };
    runner.shutdown_async().await;
    let dropped = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {database}")).await;
    result.and(dropped.map_err(|error| Failed::from(format!("{error:?}"))))
}
