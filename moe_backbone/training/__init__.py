"""Train any stock causal language model, sparse or dense, on one GPU or a CPU: stages, exact resume, distillation.

Layer: ``moe_backbone``; imports torch, and transformers only where a model is made.
"""
