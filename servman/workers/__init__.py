"""Servables in processes of their own: started, called, supervised and replaced."""
