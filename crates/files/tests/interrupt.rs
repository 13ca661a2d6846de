//! In a process of its own, since a request concerns all of it.

use hpd_files::interrupt;

#[test]
fn work_that_somebody_waits_for_comes_to_its_end() {
    interrupt::request();
    assert!(interrupt::check("all is kept").is_err());
    interrupt::to_the_end(|| {
        assert!(interrupt::check("all is kept").is_ok() && interrupt::requested());
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(interrupt::check("all is kept").is_err()));
        });
    });
    assert!(interrupt::check("all is kept").is_err());
    interrupt::withdraw();
    assert!(interrupt::check("all is kept").is_ok());
}
