"""What can be changed about routing while a model decodes: expert masks, self-contrast, re-routing by neighbours.

Layer: ``moe_backbone``; imports torch and transformers.
"""
