"""The history: bounded in jobs and bytes, whatever happens to a job."""

import pytest

from worker_tools.dev.job import Job, JobRequest, JobStatus, Post
from worker_tools.dev.web.history import JobHistory


def make_job(size_bytes=10):
    request = JobRequest({}, False, 1000, 1000, 1.0, size_bytes=size_bytes)
    return Job(request)


def end(job, status=JobStatus.COMPLETED, posted=0):
    job.status = status
    job.metrics.posts.append(Post("done", 0.0, posted, False))


@pytest.fixture
async def changed():
    return []


def record(history, job, posted=0):
    history.record(job)
    end(job, posted=posted)
    history.record(job)


async def test_record_announces_each_change(changed):
    history = JobHistory(changed.append)
    job = make_job()
    record(history, job)
    assert changed == [job.id, job.id]


async def test_oldest_ended_jobs_are_dropped_beyond_the_number(changed):
    history = JobHistory(changed.append, most_jobs=3)
    jobs = [make_job() for _ in range(5)]
    for job in jobs:
        record(history, job)
    assert [entry.job for entry in history.page(None, 10)] == jobs[:1:-1]


async def test_running_job_is_kept_while_newer_ones_are_dropped(changed):
    history = JobHistory(changed.append, most_jobs=2)
    running = make_job()
    history.record(running)
    for _ in range(4):
        record(history, make_job())
    assert history.get(running.id) is not None
    assert len(history) == 2


async def test_jobs_are_dropped_beyond_the_bytes_but_one_stays(changed):
    history = JobHistory(changed.append, most_bytes=1000)
    first, large = make_job(), make_job()
    record(history, first, posted=500)
    record(history, large, posted=5000)
    assert history.get(first.id) is None
    assert history.get(large.id) is not None


async def test_job_that_was_dropped_is_not_recorded_again(changed):
    history = JobHistory(changed.append, most_jobs=1)
    old = make_job()
    record(history, old)
    record(history, make_job())
    history.record(old)
    assert history.get(old.id) is None


async def test_bytes_of_a_retried_job_are_counted_once(changed):
    """Counted twice, they would push other jobs out of the history."""
    history = JobHistory(changed.append, most_bytes=400)
    retried, other = make_job(size_bytes=100), make_job(size_bytes=100)
    record(history, retried, posted=50)
    retried.status = JobStatus.IN_QUEUE
    history.record(retried)
    end(retried, posted=50)
    history.record(retried)
    record(history, other, posted=100)
    assert len(history) == 2
    record(history, make_job(size_bytes=1))
    assert history.get(retried.id) is None


async def test_count_posts_reads_each_post_once(changed):
    history = JobHistory(changed.append)
    job = make_job()
    history.record(job)
    entry = history.get(job.id)
    job.metrics.posts += [Post("stream", 0.0, 5, False), Post("stream", 0.0, 6, False)]
    entry.count_posts()
    entry.count_posts()
    assert (entry.posts, entry.posted_bytes) == (2, 11)
