"""The flowchart, box by box: one class a diagram, one test a box, named by its letter.

Each docstring quotes the box. Where the contract departs from the flowchart, the test asserts the contract, and the
docstring says why.
"""

from __future__ import annotations

import inspect
import logging
from math import inf, nan, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attn_core import Attention, attention, causal_mask, eager, repeat_kv, store_kvcache
from tests.attn_core.calls import Call, D, G, H, S, bits, decode_call, prefill_call
from verification.backends.captured_events import captured_events

N = 3


class Step:
    """One call of a step: its arguments and its result."""

    def __init__(self, arguments: tuple[Any, ...], result: Any) -> None:
        self.arguments, self.result = arguments, result


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Step]]:
    """What the three matrix steps were given and what they gave, one entry a sequence."""
    names = ("attention_scores", "attention_weights", "weighted_values")
    recorded: dict[str, list[Step]] = {name: [] for name in names}

    def follow(name: str) -> None:
        original = getattr(eager, name)

        def step(*arguments: Any) -> Any:
            result = original(*arguments)
            recorded[name].append(Step(arguments, result))
            return result

        monkeypatch.setattr(eager, name, step)

    for name in names:
        follow(name)
    return recorded


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The forward's steps in the order in which they run; a range check goes by its tensor's name."""
    names: list[str] = []

    def follow(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def step(*arguments: Any) -> Any:
            names.append(arguments[-1] if name == "_check_numeric_range" else name)
            return original(*arguments)

        monkeypatch.setattr(owner, name, step)

    for name in ("_validate", "_init_cache", "_prefill_attn", "_decode_attn", "_check_numeric_range"):
        follow(Attention, name)
    for name in ("get_context", "store_kvcache"):
        follow(attention, name)
    return names


class Shapes(TorchDispatchMode):
    """Every tensor operation that ran inside, with the shape of what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen.append((str(func), tuple(getattr(result, "shape", ()))))
        return result


class TestInitFlow:
    """初始化流程 (initialisation)."""

    def test_a_init(self) -> None:
        """「Attention.__init__」: (num_heads, head_dim, num_kv_heads, block_size=256), all else by keyword."""
        parameters = list(inspect.signature(Attention).parameters.values())
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == [
            "num_heads",
            "head_dim",
            "num_kv_heads",
            "block_size",
        ]

    def test_b_sizes(self) -> None:
        """「设置 num_heads, num_kv_heads, head_dim」 (set them)."""
        layer = Attention(6, 16, 3)
        assert (layer.num_heads, layer.num_kv_heads, layer.head_dim) == (6, 3, 16)

    def test_c_divides(self) -> None:
        """「assert num_heads % num_kv_heads == 0」.

        A ValueError that names both numbers: an assert vanishes under python -O.
        """
        with pytest.raises(ValueError, match=r"num_heads: 6 .*num_kv_heads, 4"):
            Attention(6, 16, 4)

    def test_d_num_rep(self) -> None:
        """「计算 num_rep = num_heads // num_kv_heads」 (compute it)."""
        assert Attention(6, 16, 3).num_rep == 2

    def test_e_scale(self) -> None:
        """「计算 scale = 1/sqrt(head_dim)」 (compute it), as a Python float."""
        assert Attention(6, 80, 3).scale == 1 / sqrt(80)

    def test_f_caches(self) -> None:
        """「初始化空 k_cache, v_cache」 (start with empty caches)."""
        layer = Attention(6, 16, 3)
        assert layer.k_cache.numel() == layer.v_cache.numel() == 0


class TestStoreFlow:
    """KV缓存存储流程 (storing to the KV cache)."""

    key = torch.arange(1.0, 3 * G * D + 1).reshape(3, G, D)
    value = -key

    def _stored(self, slots: list[int]) -> tuple[Tensor, Tensor]:
        k_cache, v_cache = torch.zeros(2, N, S, G, D)
        with captured_events():
            store_kvcache(self.key, self.value, k_cache, v_cache, torch.tensor(slots))
        return k_cache, v_cache

    def test_a_store(self) -> None:
        """「store_kvcache」: (key, value, k_cache, v_cache, slot_mapping)."""
        names = list(inspect.signature(store_kvcache).parameters)
        assert names[:5] == ["key", "value", "k_cache", "v_cache", "slot_mapping"]

    def test_b_input(self) -> None:
        """「输入: key[N,G,D], value[N,G,D]」 (the input): any N, also 0."""
        k_cache, v_cache = torch.zeros(2, N, S, G, D)
        store_kvcache(self.key[:0], self.value[:0], k_cache, v_cache, torch.empty(0, dtype=torch.int64))
        store_kvcache(self.key, self.value, k_cache, v_cache, torch.tensor([0, 1, 2]))
        assert k_cache[0, :3].equal(self.key)
        assert v_cache[0, :3].equal(self.value)

    def test_c_shapes(self) -> None:
        """「验证维度匹配」 (check that the dimensions match), by an exception and not by an assert."""
        k_cache, v_cache = torch.zeros(2, N, S, G, D)
        with pytest.raises(ValueError, match="value"):
            store_kvcache(self.key, self.value[:2], k_cache, v_cache, torch.tensor([0, 1, 2]))
        assert not k_cache.any()

    def test_d_padding(self) -> None:
        """「筛选有效slot (slot != -1)」 (keep the valid slots)."""
        k_cache, _ = self._stored([-1, 5, -1])
        assert k_cache.reshape(N * S, G, D).count_nonzero(dim=(1, 2)).nonzero().flatten().tolist() == [5]

    def test_e_place(self) -> None:
        """「计算 block_idx, block_inner_idx」 (compute both): s // S and s % S."""
        k_cache, v_cache = self._stored([6, 0, 11])
        for n, (block_idx, block_inner_idx) in enumerate(((1, 2), (0, 0), (2, 3))):
            assert k_cache[block_idx, block_inner_idx].equal(self.key[n])
            assert v_cache[block_idx, block_inner_idx].equal(self.value[n])

    def test_f_in_range(self) -> None:
        """「筛选在缓存范围内的元素」 (keep what lies within the cache): negative slots do not."""
        k_cache, _ = self._stored([N * S, 4, -2])
        assert k_cache.reshape(N * S, G, D).count_nonzero(dim=(1, 2)).nonzero().flatten().tolist() == [4]

    def test_g_static_index(self) -> None:
        """「生成静态索引」 (build a static index): the same operations and shapes whatever the slots hold.

        Nothing is filtered, since a filter's length would have to be fetched from the device.
        """
        runs = []
        for slots in ([0, 1, 2], [-1, 99, -1], [5, 5, -2]):
            with Shapes() as shapes:
                self._stored(slots)
            runs.append(shapes.seen)
        assert runs[0] == runs[1] == runs[2]

    def test_h_data(self) -> None:
        """「提取有效数据」 (take the valid data): each token's own, the last of equal slots."""
        k_cache, v_cache = self._stored([7, -1, 7])
        assert k_cache[1, 3].equal(self.key[2])
        assert v_cache[1, 3].equal(self.value[2])

    def test_i_update(self) -> None:
        """「批量更新 k_cache, v_cache」 (update both in one go): in place, cast to the cache's dtype."""
        k_cache, v_cache = torch.zeros(2, N, S, G, D, dtype=torch.bfloat16)
        store_kvcache(self.key, self.value, k_cache, v_cache, torch.tensor([0, 1, 2]))
        assert k_cache[0, :3].equal(self.key.bfloat16())
        assert v_cache[0, :3].equal(self.value.bfloat16())


class TestRepeatKvFlow:
    """GQA扩展 (expanding the kv heads)."""

    x = torch.randn(3, G, D)

    def test_a_arguments(self) -> None:
        """「repeat_kv(hidden_states, n_rep)」, and the limit of box E."""
        assert list(inspect.signature(repeat_kv).parameters) == ["hidden_states", "n_rep", "max_heads"]

    def test_b_one(self) -> None:
        """「n_rep == 1?」: only then is nothing copied."""
        assert repeat_kv(self.x, 2) is not self.x
        assert repeat_kv(self.x, 1) is self.x

    def test_c_itself(self) -> None:
        """「return hidden_states」, the very tensor."""
        assert repeat_kv(self.x, 1) is self.x

    def test_d_shape(self) -> None:
        """「seq_len, G, D = shape」: the sequence comes first, also an empty one."""
        assert repeat_kv(self.x, 4).shape == (3, G * 4, D)
        assert repeat_kv(self.x[:0], 4).shape == (0, G * 4, D)

    def test_e_limit(self) -> None:
        """「assert G * n_rep <= 32」.

        A ValueError, and 32 is the default of ``max_heads``: 64-head models pass 64.
        """
        assert repeat_kv(self.x, 16).shape[1] == 32
        with pytest.raises(ValueError, match="max_heads=32"):
            repeat_kv(self.x, 17)
        assert repeat_kv(self.x, 32, 64).shape[1] == 64

    def test_f_expand(self) -> None:
        """「unsqueeze(2).expand(seq_len, G, n_rep, D)」: a head and its copies stand together."""
        expanded = repeat_kv(self.x, 3).reshape(3, G, 3, D)
        assert all(expanded[:, :, copy].equal(self.x) for copy in range(3))

    def test_g_reshape(self) -> None:
        """「reshape(seq_len, G*n_rep, D)」."""
        assert repeat_kv(self.x, 3).equal(self.x.repeat_interleave(3, dim=1))


class TestPrefillFlow:
    """Prefill注意力计算 (prefill)."""

    def _call(self) -> Call:
        return prefill_call([2, 3], [4, 3])

    def _attend(self, call: Call) -> Tensor:
        """The method of the flowchart, with the flowchart's arguments."""
        return call.layer._prefill_attn(call.q, call.k, call.v, call.context.cu_seqlens_q, call.context.cu_seqlens_k)

    def test_a_arguments(self) -> None:
        """「_prefill_attn(q, k, v, cu_seqlens_q, cu_seqlens_k)」 gives [T, H, D]."""
        names = list(inspect.signature(Attention._prefill_attn).parameters)
        assert names == ["self", "q", "k", "v", "cu_seqlens_q", "cu_seqlens_k"]
        assert self._attend(self._call()).shape == (5, H, D)

    def test_b_batch_size(self, steps: dict[str, list[Step]]) -> None:
        """「batch_size = len(cu_seqlens_q) - 1」."""
        self._attend(self._call())
        assert len(steps["attention_scores"]) == 2

    def test_c_outputs(self, steps: dict[str, list[Step]]) -> None:
        """「outputs = []」: no sequence, no output."""
        assert self._attend(prefill_call([])).shape == (0, H, D)
        assert steps["attention_scores"] == []

    def test_d_loop(self, steps: dict[str, list[Step]]) -> None:
        """「for i in range(batch_size)」: in order, one at a time."""
        self._attend(prefill_call([1, 3, 2]))
        assert [step.result.shape[1] for step in steps["attention_scores"]] == [1, 3, 2]

    def test_e_bounds(self, steps: dict[str, list[Step]]) -> None:
        """「切片: start_q/end_q, start_k/end_k」 (slice): queries and keys have bounds of their own."""
        self._attend(self._call())
        assert [tuple(step.result.shape) for step in steps["attention_scores"]] == [(H, 2, 4), (H, 3, 3)]

    def test_f_slices(self, steps: dict[str, list[Step]]) -> None:
        """「提取 q_seq, k_seq, v_seq」 (take them)."""
        call = self._call()
        self._attend(call)
        q, k = steps["attention_scores"][1].arguments[:2]
        v = steps["weighted_values"][1].arguments[1]
        assert q.transpose(0, 1).equal(call.q[2:])
        assert k[:: H // G].transpose(0, 1).equal(call.k[4:])
        assert v[:: H // G].transpose(0, 1).equal(call.v[4:])

    def test_g_range(self) -> None:
        """「_check_numeric_range」 of q_seq and k_seq, by name."""
        call = self._call()
        call.q[0], call.k[6] = 2e4, -2e4
        with captured_events() as events:
            self._attend(call)
        names = {event.tensor for event in events}
        assert {"prefill_q_seq_0", "prefill_k_seq_1"} <= names
        assert not {"prefill_q_seq_1", "prefill_k_seq_0"} & names

    def test_h_repeat(self, steps: dict[str, list[Step]]) -> None:
        """「repeat_kv 扩展 K,V」 (expand K and V): query head h asks kv head h // num_rep."""
        call = self._call()
        self._attend(call)
        k, v = steps["attention_scores"][0].arguments[1], steps["weighted_values"][0].arguments[1]
        for h in range(H):
            assert k[h].equal(call.k[:4, h // (H // G)])
            assert v[h].equal(call.v[:4, h // (H // G)])

    def test_i_transpose(self, steps: dict[str, list[Step]]) -> None:
        """「转置计算注意力」 (transpose, then attend): heads come first."""
        self._attend(self._call())
        q, k = steps["attention_scores"][0].arguments[:2]
        assert (q.shape, k.shape) == ((H, 2, D), (H, 4, D))

    def test_j_scores(self, steps: dict[str, list[Step]]) -> None:
        """「matmul(q_trans, k_trans) * scale」, in float32 whatever the input."""
        self._attend(prefill_call([3], dtype=torch.float16))
        step = steps["attention_scores"][0]
        q, k = step.arguments[:2]
        assert step.result.dtype == torch.float32
        assert step.result.equal(q @ k.transpose(1, 2) * (1 / sqrt(D)))

    def test_k_mask(self, steps: dict[str, list[Step]]) -> None:
        """「添加因果掩码」 (add the causal mask).

        The softmax's step gets a boolean and fills -inf: adding -inf to a hidden NaN would give NaN.
        """
        self._attend(self._call())
        scores, hidden = steps["attention_weights"][0].arguments
        assert hidden.tolist() == [[False, True, True, True], [False, False, True, True]]
        assert scores.isfinite().all()
        assert not steps["attention_weights"][0].result.masked_select(hidden).any()

    def test_l_softmax(self, steps: dict[str, list[Step]]) -> None:
        """「softmax」 over the keys."""
        self._attend(self._call())
        weights = steps["attention_weights"][1].result
        assert weights.sum(dim=-1).sub(1.0).abs().max() < 1e-6
        scores = steps["attention_weights"][1].arguments[0]
        assert weights[:, 2].equal(scores[:, 2].softmax(dim=-1))

    def test_m_values(self, steps: dict[str, list[Step]]) -> None:
        """「matmul(attn, v_trans)」."""
        self._attend(self._call())
        step = steps["weighted_values"][0]
        assert (step.result - step.arguments[0] @ step.arguments[1]).abs().max() < 1e-6

    def test_n_append(self, steps: dict[str, list[Step]]) -> None:
        """「转置恢复并添加到outputs」 (transpose back, append): rounded to q's dtype here, once."""
        output = self._attend(prefill_call([3], dtype=torch.float16))
        assert output.equal(steps["weighted_values"][0].result.transpose(0, 1).half())

    def test_o_cat(self, steps: dict[str, list[Step]]) -> None:
        """「return torch.cat(outputs)」: in the sequences' order."""
        output = self._attend(self._call())
        assert output.equal(torch.cat([step.result.transpose(0, 1) for step in steps["weighted_values"]]))


class TestDecodeFlow:
    """Decode注意力计算 (decode)."""

    def _call(self) -> Call:
        return decode_call([S + 2, 3])

    def _attend(self, call: Call) -> Tensor:
        """The method of the flowchart, with the flowchart's arguments: nothing is stored."""
        with captured_events():
            return call.layer._decode_attn(call.q, call.context.context_lens, call.context.block_tables)

    def _history(self, call: Call, i: int) -> tuple[Tensor, Tensor]:
        """What the cache holds of sequence i, read one position at a time."""
        table, length = call.context.block_tables[i].tolist(), int(call.context.context_lens[i])
        places = [(table[t // S], t % S) for t in range(length)]
        keys, values = (torch.stack([cache[p] for p in places]) for cache in (call.layer.k_cache, call.layer.v_cache))
        return keys, values

    def test_a_arguments(self) -> None:
        """「_decode_attn(q, context_lens, block_tables)」."""
        names = list(inspect.signature(Attention._decode_attn).parameters)
        assert names == ["self", "q", "context_lens", "block_tables"]

    def test_b_batch_size(self, steps: dict[str, list[Step]]) -> None:
        """「batch_size = q.shape[0]」: one token a sequence."""
        self._attend(self._call())
        assert len(steps["attention_scores"]) == 2

    def test_c_shape(self) -> None:
        """「reshape q: [B, H, D]」: q comes in that shape, and the output leaves in it."""
        assert self._attend(self._call()).shape == (2, H, D)

    def test_d_loop(self, steps: dict[str, list[Step]]) -> None:
        """「for i in range(batch_size)」: in order; none for an empty batch."""
        self._attend(self._call())
        assert [step.result.shape[2] for step in steps["attention_scores"]] == [S + 2, 3]
        assert self._attend(decode_call([])).shape == (0, H, D)

    def test_e_index(self, steps: dict[str, list[Step]]) -> None:
        """「验证缓存索引」 (check the cache's indices): an invalid block's positions are left out, no others move."""
        call = self._call()
        call.context.block_tables[0, 0] = -1
        self._attend(call)
        k = steps["attention_scores"][0].arguments[1]
        assert k[:: H // G].transpose(0, 1).equal(call.layer.k_cache[call.context.block_tables[0, 1], :2])

    def test_f_history(self, steps: dict[str, list[Step]]) -> None:
        """「读取历史KV缓存」 (read the history from the cache)."""
        call = self._call()
        self._attend(call)
        for i in range(2):
            keys, values = self._history(call, i)
            assert steps["attention_scores"][i].arguments[1][:: H // G].transpose(0, 1).equal(keys)
            assert steps["weighted_values"][i].arguments[1][:: H // G].transpose(0, 1).equal(values)

    def test_g_length(self, steps: dict[str, list[Step]]) -> None:
        """「concat并限制长度」 (concatenate, limit the length): the last block's tail is not read."""
        call = self._call()
        call.layer.k_cache[call.context.block_tables[0, 1], 2:] = nan
        self._attend(call)
        assert steps["attention_scores"][0].result.shape[2] == S + 2
        assert steps["attention_scores"][0].result.isfinite().all()

    def test_h_repeat(self, steps: dict[str, list[Step]]) -> None:
        """「repeat_kv 扩展」 (expand): query head h asks kv head h // num_rep."""
        call = self._call()
        self._attend(call)
        keys, values = self._history(call, 1)
        for h in range(H):
            assert steps["attention_scores"][1].arguments[1][h].equal(keys[:, h // (H // G)])
            assert steps["weighted_values"][1].arguments[1][h].equal(values[:, h // (H // G)])

    def test_i_unsqueeze(self, steps: dict[str, list[Step]]) -> None:
        """「unsqueeze q_i」: one query, [H, 1, D]."""
        call = self._call()
        self._attend(call)
        for i, step in enumerate(steps["attention_scores"]):
            assert step.arguments[0].equal(call.q[i].unsqueeze(1))

    def test_j_scores(self, steps: dict[str, list[Step]]) -> None:
        """「计算注意力分数」 (compute the scores): scaled, in float32 whatever the input."""
        self._attend(decode_call([5], torch.float16))
        step = steps["attention_scores"][0]
        assert step.result.dtype == torch.float32
        assert step.result.equal(step.arguments[0] @ step.arguments[1].transpose(1, 2) * (1 / sqrt(D)))

    def test_k_softmax(self, steps: dict[str, list[Step]]) -> None:
        """「softmax」 over the whole history: there is nothing to mask."""
        self._attend(self._call())
        for step in steps["attention_weights"]:
            assert step.result.equal(step.arguments[0].softmax(dim=-1))

    def test_l_values(self, steps: dict[str, list[Step]]) -> None:
        """「加权求和」 (the weighted sum)."""
        self._attend(self._call())
        step = steps["weighted_values"][0]
        assert (step.result - step.arguments[0] @ step.arguments[1]).abs().max() < 1e-6

    def test_m_squeeze(self, steps: dict[str, list[Step]]) -> None:
        """「squeeze并添加到outputs」 (squeeze, append): rounded to q's dtype here, once."""
        output = self._attend(decode_call([5], torch.float16))
        assert output[0].equal(steps["weighted_values"][0].result.squeeze(1).half())

    def test_n_cat(self, steps: dict[str, list[Step]]) -> None:
        """「return torch.cat(outputs)」: in the sequences' order."""
        output = self._attend(self._call())
        assert output.equal(torch.stack([step.result.squeeze(1) for step in steps["weighted_values"]]))


class TestForwardFlow:
    """主前向传播流程 (the forward)."""

    STEPS = ("_init_cache", "store_kvcache", "_prefill_attn")

    def test_a_arguments(self) -> None:
        """「forward(q, k, v)」: all else is in the context."""
        assert list(inspect.signature(Attention.forward).parameters) == ["self", "q", "k", "v"]

    def test_b_context(self, trace: list[str]) -> None:
        """「获取 context」 (get the context) comes first."""
        prefill_call([2]).run()
        assert trace[0] == "get_context"

    def test_c_cache_empty(self, trace: list[str]) -> None:
        """「k_cache为空?」 (is k_cache empty?): it is asked on every forward."""
        call = prefill_call([2], num_blocks=2)
        call.run()
        call.run()
        assert trace.count("_init_cache") == 1

    def test_d_init_cache(self) -> None:
        """「_init_cache」: zeros [N, S, G, D], where the context says how many blocks."""
        call = prefill_call([2], num_blocks=2)
        call.but(slot_mapping=torch.tensor([-1, -1])).run()
        assert call.layer.k_cache.equal(torch.zeros(2, S, G, D))
        assert call.layer.v_cache.equal(torch.zeros(2, S, G, D))

    def test_e_skip(self, trace: list[str]) -> None:
        """「跳过」 (skip): an engine's own cache stays."""
        call = decode_call([3])
        caches = (call.layer.k_cache, call.layer.v_cache)
        call.but(num_kvcache_blocks=9).run()
        assert "_init_cache" not in trace
        assert (call.layer.k_cache, call.layer.v_cache) == caches

    def test_f_store(self, trace: list[str]) -> None:
        """「store_kvcache」, after the allocation and before the attention."""
        prefill_call([2], num_blocks=2).run()
        assert [name for name in trace if name in self.STEPS] == list(self.STEPS)

    def test_g_validation(self, trace: list[str]) -> None:
        """「维度校验」 (check the dimensions).

        Before the allocation and the store, and values too: a refused call must not have changed the cache.
        """
        call = decode_call([3])
        before = call.cache_bits()
        with pytest.raises(ValueError, match=r"^q: "):
            call.but(q=call.q[:, :-1]).run()
        assert trace == ["get_context", "_validate"]
        assert call.cache_bits() == before

    def test_h_phase(self, trace: list[str]) -> None:
        """「is_prefill?」: one of the two, never both."""
        prefill_call([2]).run()
        decode_call([3]).run()
        assert [name for name in trace if name.endswith("_attn")] == ["_prefill_attn", "_decode_attn"]

    def test_i_prefill(self) -> None:
        """「_prefill_attn」 gives the output."""
        call = prefill_call([2, 3])
        starts = call.context.cu_seqlens_q
        assert call.run().equal(call.layer._prefill_attn(call.q, call.k, call.v, starts, starts).reshape(5, H * D))

    def test_j_decode(self) -> None:
        """「_decode_attn」 gives the output, after the store."""
        call = decode_call([6, 3])
        output = call.run()
        direct = call.layer._decode_attn(call.q, call.context.context_lens, call.context.block_tables)
        assert output.equal(direct.reshape(2, H * D))

    def test_k_reshape(self) -> None:
        """「reshape输出」 (reshape the output): [T, H*D], heads in order."""
        call = prefill_call([1])
        assert call.run().reshape(H, D).equal(call.v[0].repeat_interleave(H // G, dim=0))

    def test_l_range(self, trace: list[str]) -> None:
        """「数值范围检查」 (range check) of the output, last."""
        prefill_call([2]).run()
        assert trace[-1] == "attention_output"
        assert trace.count("attention_output") == 1

    def test_m_return(self) -> None:
        """「return output」: q's dtype and device."""
        call = prefill_call([2, 3], dtype=torch.bfloat16)
        output = call.run()
        assert (output.shape, output.dtype, output.device) == ((5, H * D), torch.bfloat16, call.q.device)


class TestNumericRangeFlow:
    """数值范围检查 (the range check)."""

    def _events(self, *values: float) -> list[Any]:
        with captured_events() as events:
            Attention(H, D, G)._check_numeric_range(torch.tensor(values), "x")
        return events

    def test_a_arguments(self) -> None:
        """「_check_numeric_range(x, name)」."""
        assert list(inspect.signature(Attention._check_numeric_range).parameters) == ["self", "x", "name"]

    def test_b_max(self) -> None:
        """「max_val = x.max()」."""
        assert self._events(3.0, 2e4, -5.0)[0].max == 2e4

    def test_c_min(self) -> None:
        """「min_val = x.min()」."""
        assert self._events(3.0, 2e4, -5.0)[0].min == -5.0

    def test_d_limits(self) -> None:
        """「max_val > 1e4 or min_val < -1e4?」: strictly.

        NaN and Inf are events as well: a comparison with NaN is false, and the flowchart's would stay silent.
        """
        assert [len(self._events(x)) for x in (1e4, 10001.0, -1e4, -10001.0)] == [0, 1, 0, 1]
        assert [len(self._events(0.0, x)) for x in (nan, inf, -inf)] == [1, 1, 1]

    def test_e_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        """「logger.warning 数值溢出」 (numeric overflow): a WARNING that carries its data."""
        Attention(H, D, G)._check_numeric_range(torch.tensor([2e4]), "x")
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("attn_core.numeric_range", logging.WARNING)
        assert (record.tensor, record.max, record.min, record.limit, record.nonfinite) == ("x", 2e4, 2e4, 1e4, False)

    def test_f_normal(self) -> None:
        """「正常」 (normal) is silent; so is an empty tensor, which has no maximum."""
        assert self._events(1.0, -1.0) == []
        assert self._events() == []

    def test_g_return(self) -> None:
        """「return x」: itself, warned of or not."""
        for x in (torch.tensor([1.0]), torch.tensor([2e4])):
            with captured_events():
                assert Attention(H, D, G)._check_numeric_range(x, "x") is x


class TestCausalMaskFlow:
    """因果掩码生成 (the causal mask)."""

    def test_a_mask(self) -> None:
        """「生成因果掩码」 (make a causal mask): nothing after a query's own position is visible to it."""
        assert causal_mask(3, 3).tolist() == [[False, True, True], [False, False, True], [False, False, False]]

    def test_b_sizes(self) -> None:
        """「Lq, Lk = q_seq.shape[0], k_seq.shape[0]」: they may differ."""
        assert causal_mask(2, 5).shape == (2, 5)

    def test_c_triu(self) -> None:
        """「mask = triu(full((Lq, Lk), -inf), diagonal=1)」.

        A boolean that is true where the flowchart's mask is -inf.
        """
        for sizes in ((3, 3), (2, 5), (5, 2), (0, 3)):
            assert causal_mask(*sizes).equal(torch.full(sizes, -inf).triu(diagonal=1) == -inf)

    def test_d_apply(self) -> None:
        """「attn = attn + mask.unsqueeze(0)」: the same for every head.

        Filled, not added: NaN + -inf is NaN, and a poisoned hidden key would reach the output.
        """
        attn = torch.randn(H, 2, 2)
        attn[:, 0, 1] = nan
        weights = eager.attention_weights(attn, causal_mask(2, 2))
        assert weights[:, 0].equal(torch.tensor([[1.0, 0.0]]).expand(H, 2))

    def test_e_result(self) -> None:
        """「结果: 上三角为-inf, 下三角为0」 (above the diagonal -inf, below 0).

        In weights: exactly 0 above, and the scores as they were below.
        """
        attn = torch.randn(H, 3, 3)
        weights = eager.attention_weights(attn, causal_mask(3, 3))
        additive = torch.full((3, 3), -inf).triu(diagonal=1)
        assert bits(weights) == bits((attn + additive.unsqueeze(0)).softmax(dim=-1))
