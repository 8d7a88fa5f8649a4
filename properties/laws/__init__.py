"""The laws, as a plain list."""

from properties.law import Law
from properties.laws.agreement import (
    agrees_with_reference,
    finite_stays_finite,
    logs_what_is_owed,
    stays_in_convex_hull,
    visible_nan_appears,
)
from properties.laws.equivalence import (
    a_chunk_is_its_decodes,
    chunks_equal_one_shot,
    decode_is_the_last_row_of_prefill,
    devices_agree,
    gqa_equals_expanded_mha,
    values_scale_exactly,
    wider_dtypes_agree,
)
from properties.laws.invariance import (
    batch_does_not_matter,
    block_ids_do_not_matter,
    index_dtype_does_not_matter,
    poison_is_invisible,
    same_call_same_bits,
    strides_do_not_matter,
    the_future_does_not_matter,
    threads_do_not_matter,
)
from properties.laws.length import long_contexts_average
from properties.laws.memory import bad_input_is_refused, cache_is_exact, guards_stay_intact, inputs_stay_unmodified
from properties.laws.rounding import rounds_to_either_side
from properties.laws.scoring import (
    a_bool_mask_is_a_float_mask,
    a_mask_equals_its_broadcast,
    a_mask_that_hides_nothing_is_none,
    a_vast_softcap_is_none,
    an_endless_window_is_none,
)
from properties.laws.shapes import other_shapes_do_not_matter

LAWS = [
    Law(agrees_with_reference),
    Law(finite_stays_finite),
    Law(visible_nan_appears),
    Law(stays_in_convex_hull, plain=True),
    Law(logs_what_is_owed),
    Law(cache_is_exact),
    Law(guards_stay_intact),
    Law(inputs_stay_unmodified),
    Law(bad_input_is_refused, bad_input=True),
    Law(poison_is_invisible, to_the_bit=True),
    Law(block_ids_do_not_matter, to_the_bit=True),
    Law(batch_does_not_matter, to_the_bit=True),
    Law(the_future_does_not_matter, to_the_bit=True, phases=("prefill", "chunked")),
    Law(strides_do_not_matter, to_the_bit=True),
    Law(index_dtype_does_not_matter, to_the_bit=True),
    Law(same_call_same_bits, to_the_bit=True),
    Law(other_shapes_do_not_matter, to_the_bit=True),
    Law(threads_do_not_matter, devices=("cpu",), to_the_bit=True),
    Law(gqa_equals_expanded_mha, to_the_bit=True),
    Law(decode_is_the_last_row_of_prefill, phases=("decode",), plain=True),
    Law(chunks_equal_one_shot, phases=("prefill",), plain=True),
    Law(a_chunk_is_its_decodes, phases=("chunked",)),
    Law(values_scale_exactly, to_the_bit=True, plain=True),
    Law(wider_dtypes_agree),
    Law(rounds_to_either_side, plain=True),
    Law(long_contexts_average, plain=True),
    Law(devices_agree, devices=("cuda",)),
    Law(an_endless_window_is_none, to_the_bit=True, scoring=("window",)),
    Law(a_vast_softcap_is_none, to_the_bit=True, scoring=("softcap",)),
    Law(a_mask_that_hides_nothing_is_none, to_the_bit=True, phases=("prefill",), scoring=("bool_mask", "float_mask")),
    Law(a_mask_equals_its_broadcast, to_the_bit=True, phases=("prefill",), scoring=("bool_mask", "float_mask")),
    Law(a_bool_mask_is_a_float_mask, to_the_bit=True, phases=("prefill",), scoring=("bool_mask", "float_mask")),
]
