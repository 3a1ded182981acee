"""Tiers: hot (PostgreSQL), warm (the lake), cold (the archive); what moves when, and safely."""
