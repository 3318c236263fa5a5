"""Who gets in: tokens, sessions, sites; and what is refused tells nothing and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.stage import Stage, stage
from slotsmith.service import access

VIEW = "/api/v1/pools/gpu/scaling-info"


def run(scenario: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with stage(**options) as the_stage:
            await scenario(the_stage)

    asyncio.run(whole())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_a_valid_token_nobody_gets_in() -> None:
    async def scenario(s: Stage) -> None:
        good = s.token("admin")
        expired = s.token("admin", expires_at=1.0)
        wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
        for token in (expired, wrong, "", "slotsmith", "slotsmith__", "x" * 5000, good + "x"):
            for path in ("/api/v1/pools", "/metrics", "/api/v1/events"):
                answer = await s.client.get(path, headers=bearer(token))
                assert (answer.status_code, answer.json()["detail"]) == (401, "a valid token is needed")
        assert (await s.client.put(VIEW, json={"desired_new": 3})).status_code == 401
        assert s.pool.scaling_info is None
        assert (await s.client.get("/api/v1/pools", headers=bearer(good))).status_code == 200
        assert (await s.client.get("/health/live")).status_code == 200
        assert set((await s.client.get("/health/ready")).json()["unready"].values()) == {"see the API"}

    run(scenario, required=True)


@pytest.mark.parametrize(
    ("role", "pool", "may"),
    [
        ("view", None, {"see", "metrics"}),
        ("push", "gpu", {"see", "push"}),
        ("push", "cpu", set()),
        ("operate", None, {"see", "operate", "metrics"}),
        ("operate", "cpu", set()),
        ("admin", None, {"see", "push", "operate", "metrics"}),
    ],
)
def test_each_role_may_do_what_it_is_for(role: str, pool: str | None, may: set[str]) -> None:
    async def scenario(s: Stage) -> None:
        headers = bearer(s.token(role, pool))
        answers = {
            "see": await s.client.get("/api/v1/pools/gpu", headers=headers),
            "push": await s.client.put(VIEW, json={}, headers=headers),
            "operate": await s.client.post("/api/v1/pools/gpu/pause", json={"why": "x"}, headers=headers),
            "metrics": await s.client.get("/metrics", headers=headers),
        }
        assert {what for what, answer in answers.items() if answer.status_code == 200} == may
        assert {answer.status_code for answer in answers.values()} <= {200, 403}
        names = {each["pool"] for each in (await s.client.get("/api/v1/pools", headers=headers)).json()["pools"]}
        assert names == ({pool} if pool else {"gpu", "cpu"})

    run(scenario, required=True)


def test_a_revoked_token_works_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FRESH", 0.0)

    async def scenario(s: Stage) -> None:
        from slotsmith.model.steering import Action

        token = s.token("view")
        assert (await s.client.get("/api/v1/pools", headers=bearer(token))).status_code == 200
        action = Action(2.0, None, "test", "token:revoke", "a test")
        assert s.service.people.revoke(token.split("_")[1], action)
        assert not s.service.people.revoke(token.split("_")[1], action)
        assert (await s.client.get("/api/v1/pools", headers=bearer(token))).status_code == 401

    run(scenario, required=True)


def test_i10_no_secret_of_a_token_is_kept_or_told() -> None:
    async def scenario(s: Stage) -> None:
        token = s.token("admin")
        secret = token.split("_", 2)[2]
        headers = bearer(token)
        for path in ("/api/v1/actions", "/metrics", "/api/v1/pools/gpu", "/"):
            assert secret not in (await s.client.get(path, headers=headers)).text
        assert all(secret not in repr(each) for each in s.service.people.tokens())

    run(scenario, required=True)


def test_a_browser_signs_in_and_out() -> None:
    async def scenario(s: Stage) -> None:
        assert (await s.client.get("/")).headers["location"] == "/sign-in"
        bad = await s.client.post("/sign-in", data={"token": "<script>"})
        assert (bad.status_code, "this token is not valid" in bad.text) == (401, True)
        good = await s.client.post("/sign-in", data={"token": s.token("view")})
        cookie = good.headers["set-cookie"].lower()
        assert (good.status_code, "httponly" in cookie, "samesite=strict" in cookie) == (303, True, True)
        page = await s.client.get("/pools/gpu")
        assert page.status_code == 200
        assert "data-do" not in page.text  # a viewer is offered nothing to change
        assert (await s.client.post("/api/v1/pools/gpu/pause", json={"why": "x"})).status_code == 403
        await s.client.post("/sign-out")
        assert (await s.client.get("/pools/gpu")).status_code == 303

    run(scenario, required=True)


def test_pages_of_other_sites_get_nothing() -> None:
    async def scenario(s: Stage) -> None:
        post = ("/api/v1/pools/gpu/pause", {"why": "x"})
        elsewhere = await s.client.post(post[0], json=post[1], headers={"Origin": "http://evil.example"})
        assert elsewhere.status_code == 403
        form = await s.client.post(post[0], content=b'{"why": "x"}', headers={"Content-Type": "text/plain"})
        assert form.status_code == 415
        rebound = await s.client.get("/api/v1/pools", headers={"Host": "evil.example"})
        assert rebound.status_code == 403
        answer = await s.client.options("/api/v1/pools", headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        own = await s.client.post(post[0], json=post[1], headers={"Origin": "http://localhost"})
        assert own.status_code == 200

    run(scenario)


def test_every_answer_has_the_safe_headers() -> None:
    async def scenario(s: Stage) -> None:
        for path in ("/", "/api/v1/pools", "/nothing", "/static/page.js", "/metrics"):
            headers: httpx.Headers = (await s.client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert "default-src 'none'" in headers["content-security-policy"], path
        assert (await s.client.get("/static/..%2f__init__.py")).status_code == 404

    run(scenario)


def test_who_does_something_is_the_tokens_name() -> None:
    async def scenario(s: Stage) -> None:
        token = s.token("operate")
        why = "line one\r\nX-Evil: yes"
        answer = await s.client.post("/api/v1/pools/gpu/pause", json={"why": why}, headers=bearer(token))
        assert (answer.status_code, "x-evil" in answer.headers) == (200, False)
        told = (await s.client.get("/api/v1/actions", headers=bearer(token))).json()["actions"][0]
        assert (told["who"], told["why"]) == (f"operate of the test ({token.split('_')[1]})", "line one X-Evil: yes")

    run(scenario, required=True)
