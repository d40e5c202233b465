use super::*;

#[test]
fn no_more_is_read_below_than_is_taken() {
    let (mut asked, given) = (0, std::cell::Cell::new(0));
    let endless = |directory: &Path| {
        asked += 1;
        let directory = directory.to_owned();
        let one_more = |_: &PathBuf| given.set(given.get() + 1);
        (0..BELOW_MAX * 2).map(move |n| directory.join(n.to_string())).inspect(one_more)
    };
    assert_eq!(nearest(Path::new("/x"), endless).len(), BELOW_MAX);
    assert_eq!((asked, given.get()), (1, BELOW_MAX));
    let chain = |directory: &Path| std::iter::once(directory.join("x"));
    assert_eq!(nearest(Path::new("/"), chain).last().map(|path| path.iter().count()), Some(BELOW_MAX + 1));
}

#[test]
fn a_directory_is_read_as_it_is_asked_for() {
    let top = tempfile::tempdir().unwrap();
    std::fs::create_dir(top.path().join("a")).unwrap();
    let is_open = || {
        let mut all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        all.any(|open| std::fs::read_link(open.path()).is_ok_and(|path| path == top.path()))
    };
    let mut children = children(top.path());
    assert!(is_open(), "all of it was read");
    assert_eq!(children.next().map(|(name, _)| name).as_deref(), Some("a"));
    drop(children);
    assert!(!is_open());
}

#[test]
fn threaded_cgroups_are_not_counted_twice() {
    let top = tempfile::tempdir().unwrap();
    let threaded = top.path().join("threads");
    std::fs::create_dir(&threaded).unwrap();
    std::fs::write(top.path().join("cgroup.procs"), "7\n8\n").unwrap();
    std::fs::write(threaded.join("cgroup.threads"), "7\n9\n").unwrap();
    assert_eq!(pids_below(top.path(), 100), (vec![7, 8], true));
    assert_eq!(pids_below(&threaded, 100), (vec![7, 9], false));
}
