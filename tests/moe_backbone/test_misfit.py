from moe_backbone.misfit import first_misfit


def test_tensors_that_fit_are_no_misfit():
    assert first_misfit({"a": (2, 3)}, {"a": (2, 3)}, given_in="the file", wanted_in="the model") is None


def test_the_first_tensor_that_is_missing_or_of_another_shape_is_named_and_all_are_counted():
    given, wanted = {"b": (2,), "c": (1,), "x": (4,)}, {"a": (7, 1), "b": (3,), "x": (4,)}

    said = first_misfit(given, wanted, given_in="the file", wanted_in="the model")

    assert said == "a is missing in the file and (7, 1) in the model (3 differ)"
